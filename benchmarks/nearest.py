"""The ten nearest rows, and how many of them scores by code find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]


def top10(scores: Rows) -> NDArray[np.int64]:
    """Returns the places of the ten largest of each row."""
    return np.argpartition(-scores, 9, axis=1)[:, :10]


def recall(scores: Rows, truth: NDArray[np.int64]) -> float:
    """Returns recall@10."""
    pairs = zip(top10(scores), truth, strict=True)
    return float(np.mean([len(np.intersect1d(found, best)) / 10 for found, best in pairs]))
