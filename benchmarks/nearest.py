"""The ten nearest rows, and how many of them scores by code find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


def top10(scores: Rows) -> NDArray[np.int64]:
    """Returns the places of the ten largest of each row."""
    return np.argpartition(-scores, 9, axis=1)[:, :10]


def without_themselves(scores: Rows) -> Rows:
    """Returns scores [m, n], changed, in which row i, which asks, is no answer of its own."""
    np.fill_diagonal(scores, -np.inf)
    return scores


def unit_rows(path: str) -> Rows:
    """Reads [n, d] rows of an .npy file, L2-normalised."""
    rows = np.load(path).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def recall(scores: Rows, truth: NDArray[np.int64]) -> float:
    """Returns recall@10."""
    pairs = zip(top10(scores), truth, strict=True)
    return float(np.mean([len(np.intersect1d(found, best)) / 10 for found, best in pairs]))
