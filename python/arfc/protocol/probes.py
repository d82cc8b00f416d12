"""Linear classifiers on features that stay as they are.

Both standardise each column by the training rows, and choose their regularisation from a fixed grid
on a tenth of the training rows, the same rows for every method, before they learn from all.

"logistic" is what tables are made with: the usual linear probe (Radford et al., ICML 2021). "ridge"
has a closed form and is several times as fast, but regression on class indicators masks classes
where there are more of them than columns (Hastie et al., The Elements of Statistical Learning,
section 4.2), which judges short features by their number of columns instead of what they hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arfc.errors import UnsupportedError

Rows = NDArray[np.float32]
Scores = NDArray[np.float64]
Measure = Callable[[Scores, NDArray[Any]], float]

_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of ridge, in units of a column's variance
_INVERSE_STRENGTHS = (0.01, 0.1, 1.0, 10.0)  # of logistic regression, scikit-learn's C
_BLOCK_ROWS = 8_192


def ridge_scores(
    train: Rows, targets: NDArray[np.int8], test: Rows, measure: Measure, seed: int
) -> Scores:
    """Returns ridge regression's score of each class.

    train    [n, dim] finite, n >= 10.
    targets  [n, classes]: 1 or -1; 0: unknown, learned as undecided.
    test     [m, dim].
    measure  Of scores [h, classes] and targets [h, classes], for the strength; larger = better.
    seed     Of the rows that choose the strength.

    Returns [m, classes] float64.
    """
    held_out, learned = _held_out(len(train), seed)
    trial = _Ridge(train, targets, learned)
    looked_at = [
        measure(trial.scores(train[held_out], strength), targets[held_out])
        for strength in _STRENGTHS
    ]
    best = _STRENGTHS[int(np.argmax(looked_at))]
    return _Ridge(train, targets, np.arange(len(train))).scores(test, best)


def logistic_scores(
    train: Rows, targets: NDArray[np.int8], test: Rows, measure: Measure, seed: int
) -> Scores:
    """Returns logistic regression's score of each class, by scikit-learn; multinomial where each
    row has one class, else one regression a class that leaves unknown rows out.

    Takes and returns what `ridge_scores` does. Raises UnsupportedError: no scikit-learn.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError as error:
        raise UnsupportedError(
            f'The probe "logistic" needs scikit-learn, use "ridge" instead: {error}'
        ) from error
    held_out, learned = _held_out(len(train), seed)
    single = bool(((targets == 1).sum(axis=1) == 1).all())

    def fitted(rows: NDArray[np.int64], asked: Rows, inverse: float) -> Scores:
        mean, deviation = _standard(train[rows])
        known = ((train[rows] - mean) / deviation).astype(np.float32)
        wanted = targets[rows]
        asked = ((asked - mean) / deviation).astype(np.float32)
        columns: Iterable[NDArray[Any]] = [wanted.argmax(axis=1)] if single else wanted.T
        scores = np.full((len(asked), targets.shape[1]), -1e9)
        for place, column in enumerate(columns):
            judged = np.ones(len(column), bool) if single else column != 0
            present = np.unique(column[judged])
            if len(present) < 2:
                scores[:, present if single else place] = 0
                continue
            model = LogisticRegression(C=inverse, max_iter=500)
            values = model.fit(known[judged], column[judged]).decision_function(asked)
            if not single:
                scores[:, place] = values
            elif len(present) == 2:
                scores[:, present] = np.stack([-values, values], axis=1)
            else:
                scores[:, present] = values
        return scores

    looked_at = [
        measure(fitted(learned, train[held_out], inverse), targets[held_out])
        for inverse in _INVERSE_STRENGTHS
    ]
    best = _INVERSE_STRENGTHS[int(np.argmax(looked_at))]
    return fitted(np.arange(len(train)), test, best)


PROBES: dict[str, Callable[[Rows, NDArray[np.int8], Rows, Measure, int], Scores]] = {
    "logistic": logistic_scores,
    "ridge": ridge_scores,
}
"""Probe -> what returns its scores."""


class _Ridge:
    """Ridge regression of some rows, at any strength."""

    def __init__(self, rows: Rows, targets: NDArray[np.int8], used: NDArray[np.int64]) -> None:
        self._mean, self._deviation = _standard(rows[used])
        width = rows.shape[1]
        moment = np.zeros((width, width))
        answers = np.zeros((width, targets.shape[1]))
        self._intercept = targets[used].mean(axis=0, dtype=np.float64)
        for first in range(0, len(used), _BLOCK_ROWS):
            places = used[first : first + _BLOCK_ROWS]
            block = self._standardised(rows[places])
            moment += block.T @ block
            answers += block.T @ (targets[places] - self._intercept)
        self._values, self._vectors = np.linalg.eigh(moment / len(used))
        self._answers = self._vectors.T @ answers / len(used)

    def scores(self, rows: Rows, strength: float) -> Scores:
        weights = self._vectors @ (
            self._answers / (np.maximum(self._values, 0) + strength)[:, None]
        )
        scores = np.empty((len(rows), len(self._intercept)))
        for first in range(0, len(rows), _BLOCK_ROWS):
            block = slice(first, first + _BLOCK_ROWS)
            scores[block] = self._standardised(rows[block]) @ weights + self._intercept
        return scores

    def _standardised(self, rows: Rows) -> NDArray[np.float64]:
        return (rows.astype(np.float64) - self._mean) / self._deviation


def _standard(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Returns each column's mean and standard deviation; 1 where it hardly varies at all."""
    mean = rows.mean(axis=0, dtype=np.float64)
    deviation = rows.std(axis=0, dtype=np.float64)
    # What is left of a constant column is rounding, which must not be blown up to a feature.
    deviation[deviation <= 1e-6 * np.maximum(np.abs(mean), deviation.max(initial=1e-30))] = 1
    return mean, deviation


def _held_out(rows: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    order = np.random.default_rng(seed).permutation(rows)
    count = max(1, rows // 10)
    return np.sort(order[:count]), np.sort(order[count:])
