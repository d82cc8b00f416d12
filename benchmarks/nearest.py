"""The ten nearest rows, and how many of them scores by code find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
BLOCK = 1024  # queries and 131,072 rows at a time: half a GiB of scores
BLOCK_ROWS = 131_072


def top10(scores: Rows) -> NDArray[np.int64]:
    """Returns the places of the ten largest of each row."""
    return np.argpartition(-scores, 9, axis=1)[:, :10]


def nearest10(queries: Rows, rows: Rows, without_themselves: bool = False) -> NDArray[np.int64]:
    """Returns the places [m, 10] of the rows of largest inner product, nearest first.

    Memory is bounded whatever the counts; `rows` may be memory-mapped.
    without_themselves  Query i is row i, and no answer of its own.
    """
    import torch

    found = np.empty((len(queries), 10), np.int64)
    for first in range(0, len(queries), BLOCK):
        asking = torch.from_numpy(np.ascontiguousarray(queries[first : first + BLOCK]))
        values, places = [], []
        for start in range(0, len(rows), BLOCK_ROWS):
            block = torch.from_numpy(np.array(rows[start : start + BLOCK_ROWS]))
            scores = asking @ block.T
            if without_themselves:
                own = torch.arange(len(asking)) + first - start
                inside = (own >= 0) & (own < len(block))
                scores[inside.nonzero()[:, 0], own[inside]] = -torch.inf
            best = scores.topk(min(10, len(block)), dim=1)
            values.append(best.values)
            places.append(best.indices + start)
        order = torch.cat(values, 1).topk(10, dim=1).indices
        found[first : first + BLOCK] = torch.cat(places, 1).gather(1, order).numpy()
    return found


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
