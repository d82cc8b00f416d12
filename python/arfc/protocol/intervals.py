"""Differences between two methods on the same items, with what chance allows them to be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arfc.errors import InvalidArgumentError

_RESAMPLES = 2_000
_BLOCK = 50


@dataclass(frozen=True)
class Interval:
    """The mean difference and its 95 % interval."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """Returns "ahead", "behind", or "level" where the interval holds 0."""
        return "ahead" if self.low > 0 else "behind" if self.high < 0 else "level"


def paired_interval(ours: Any, theirs: Any, seed: int = 0) -> Interval:
    """Compares two methods item by item, by a paired bootstrap (Efron & Tibshirani, 1993).

    ours    [items] float, each item's outcome; NaN: the item has none.
    theirs  [items], of the same items in the same order.
    seed    Of the 2,000 resamples.

    Returns the mean of ours - theirs and its 2.5th and 97.5th percentiles. Raises
    InvalidArgumentError (shapes that differ, no item).
    """
    left, right = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if left.ndim != 1 or left.shape != right.shape:
        raise InvalidArgumentError(
            f"Outcomes must be vectors of the same items: {left.shape}, {right.shape}"
        )
    differences: NDArray[np.float64] = (left - right)[~np.isnan(left - right)]
    if len(differences) == 0:
        raise InvalidArgumentError(f"There is no item to compare by: {left.shape}")
    generator = np.random.default_rng(seed)
    means = np.concatenate(
        [
            differences[generator.integers(len(differences), size=(_BLOCK, len(differences)))].mean(
                axis=1
            )
            for _ in range(_RESAMPLES // _BLOCK)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Interval(float(differences.mean()), float(low), float(high))
