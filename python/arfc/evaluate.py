"""Measures of a search: recall against exact answers, nDCG against relevance, both as means over
queries.

All take answers as a matrix of row numbers or ids, best first, -1 where there are fewer; all are
NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from arfc._arrays import as_count, as_matrix
from arfc.errors import InvalidArgumentError

_BLOCK_FLOATS = 1 << 24  # 64 MiB of scores at a time


def exact(
    queries: Any, rows: Any, k: int = 10, metric: Literal["cosine", "ip", "l2"] = "cosine"
) -> NDArray[np.int64]:
    """Returns the k best rows of each query by exhaustive float32 search; ties take the lower row.

    queries  [m, dim] float32.
    rows     [n, dim] float32, n >= k.

    Returns [m, k] int64, best first. Raises InvalidArgumentError (a shape, k, or an unknown
    metric).
    """
    left, right = as_matrix(queries, "Queries"), as_matrix(rows, "Rows")
    if left.shape[1] != right.shape[1]:
        raise InvalidArgumentError(f"Widths differ: queries {left.shape}, rows {right.shape}")
    count = as_count(k, "k", 1, right.shape[0])
    scorer = _scorer(right, metric)
    block = max(1, _BLOCK_FLOATS // right.shape[0])
    found = [
        _best(scorer(left[first : first + block]), count)
        for first in range(0, left.shape[0], block)
    ]
    return np.concatenate(found) if found else np.empty((0, count), np.int64)


def recall_at_k(found: Any, truth: Any, k: int = 10) -> float:
    """Returns the mean share of the k true answers that are among the first k found, in [0, 1].

    found  [m, >= k] ids, best first; -1: no answer.
    truth  [m, >= k] ids of the exact answers.
    """
    return float(np.mean(recalls_at_k(found, truth, k)))


def recalls_at_k(found: Any, truth: Any, k: int = 10) -> NDArray[np.float64]:
    """Returns each query's share of the k true answers that are among the first k found.

    found  [m, >= k] ids, best first; -1: no answer.
    truth  [m, >= k] ids of the exact answers.

    Returns [m] float64. Raises InvalidArgumentError (shapes that do not fit, or k).
    """
    left, right = np.asarray(found), np.asarray(truth)
    if left.ndim != 2 or right.ndim != 2 or left.shape[0] != right.shape[0] or left.shape[0] == 0:
        raise InvalidArgumentError(
            f"Answers and truth must be matrices of as many rows: {left.shape}, {right.shape}"
        )
    if not 1 <= k <= min(left.shape[1], right.shape[1]):
        raise InvalidArgumentError(
            f"k is out of range: {k}, answers {left.shape}, truth {right.shape}"
        )
    left, right = left[:, :k], right[:, :k]
    hit = (right[:, :, None] == left[:, None, :]) & (left != -1)[:, None, :]
    return hit.any(axis=2).mean(axis=1)


def ndcg(found: Any, relevant: Sequence[Mapping[int, float] | int], k: int = 10) -> float:
    """Returns the mean normalised discounted cumulative gain of the first k answers, in [0, 1].

    found     [m, >= k] ids, best first; -1: no answer.
    relevant  [m]; per query the gain of each relevant id, or the one relevant id. A query without
              any counts 0.

    Gain is linear and discounted by log2(rank + 1), rank from 1 (Järvelin and Kekäläinen, 2002).
    """
    answers = np.asarray(found)
    if answers.ndim != 2 or len(relevant) != answers.shape[0] or answers.shape[0] == 0:
        raise InvalidArgumentError(
            f"Answers and relevance differ in number: {answers.shape}, {len(relevant)}"
        )
    if not 1 <= k <= answers.shape[1]:
        raise InvalidArgumentError(f"k is out of range: {k}, answers {answers.shape}")
    discount = 1 / np.log2(np.arange(2, k + 2))
    total = 0.0
    for row, wanted in zip(answers[:, :k], relevant, strict=True):
        gains = wanted if isinstance(wanted, Mapping) else {int(wanted): 1.0}
        ideal = sorted((gain for gain in gains.values() if gain > 0), reverse=True)[:k]
        if ideal:
            got = np.array([gains.get(int(identity), 0.0) for identity in row])
            total += float(got @ discount) / float(np.array(ideal) @ discount[: len(ideal)])
    return total / len(answers)


def _scorer(
    rows: NDArray[np.float32], metric: str
) -> Callable[[NDArray[np.float32]], NDArray[np.float32]]:
    if metric == "cosine":
        unit = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-30))
        return lambda queries: queries @ unit.T
    if metric == "ip":
        return lambda queries: queries @ rows.T
    if metric == "l2":
        squares = np.einsum("nd,nd->n", rows, rows)
        return lambda queries: 2 * (queries @ rows.T) - squares
    raise InvalidArgumentError(f'Metric must be "cosine", "ip" or "l2": {metric!r}')


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    worst_kept = np.partition(scores, scores.shape[1] - k, axis=1)[:, scores.shape[1] - k]
    found = np.empty((scores.shape[0], k), np.int64)
    for row, (line, threshold) in enumerate(zip(scores, worst_kept, strict=True)):
        candidates = np.flatnonzero(line >= threshold)
        found[row] = candidates[np.argsort(-line[candidates], kind="stable")[:k]]
    return found
