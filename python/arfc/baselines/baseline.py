"""What every baseline is: fitted to rows for one number of dimensions, then a function of a row."""

from __future__ import annotations

import abc
import time
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from arfc import evaluate
from arfc._arrays import as_count, as_matrix
from arfc.errors import InvalidArgumentError, UnsupportedError

Rows = NDArray[np.float32]

FLOAT_BYTES = 4
LEAST_ROWS = 20
"""Fewer leave nothing to hold out."""
_MOST_ROWS = 200_000  # 0.6 GB at 768 floats; more change axes and small networks by nothing seen
_MOST_HELD_OUT = 2_000  # their neighbours are found by exhaustive search, again and again
_BLOCK_ROWS = 8_192


@dataclass(frozen=True)
class Trial:
    """One choice of settings and how it did on held-out rows."""

    settings: dict[str, Any]
    seconds: float
    """Processor time of the process."""
    steps: int
    """Gradient steps; 0 where there is a closed form."""
    held_out: float
    """The measure that `FitReport.measure` names, larger = better."""


@dataclass(frozen=True)
class FitReport:
    """What a fit did."""

    measure: str
    """What was measured on held-out rows: "explained", the share of their energy (squared
    distances from the training rows' mean) that the reconstruction keeps, or "neighbours", the mean
    share of each one's ten nearest others, by cosine, that stay so."""
    rows: int
    """Rows that were learned from."""
    held_out_rows: int
    seconds: float
    """Processor time of the process."""
    start: float
    """The measure before the first step: for the learned ones that of PCA."""
    trials: tuple[Trial, ...]
    kept: int
    """Place in `trials` of the settings that were kept."""
    held_out: float
    """The measure of what was kept, at least `start`."""


def kept_dims(dim: int, ratio: float) -> int:
    """Returns how many of `dim` floats are kept where a share `ratio` of the bytes is removed.

    dim    Width of the feature, in [1, 65536].
    ratio  In [0, 1); .75 keeps a quarter.

    Rounded down, at least 1. Raises InvalidArgumentError.
    """
    width = as_count(dim, "dim", 1, 65536)
    if (
        isinstance(ratio, bool | np.bool_)
        or not isinstance(ratio, int | float | np.number)
        or not 0 <= float(ratio) < 1
    ):
        raise InvalidArgumentError(f"Ratio is a share of bytes removed in [0, 1): {ratio!r}")
    return max(1, int(width * (1 - float(ratio)) + 1e-9))  # .9 is not a binary fraction


class Baseline(abc.ABC):
    """A compressor of float features, fitted for one size.

    Immutable once fitted; `transform` may be called from many threads. A row's compressed feature
    depends on the row alone, up to the last bits of matrix products.
    """

    name: ClassVar[str]
    """Its row in `BASELINES`."""
    measure: ClassVar[str]
    """What its settings are chosen by; see `FitReport.measure`."""

    def __init__(self, dim: int, dims: int) -> None:
        self.dim = dim
        """Width of the features that go in, in floats."""
        self.dims = dims
        """Size that it was fitted for, in float32 numbers a row."""
        self.report: FitReport
        """What the fit did."""

    @classmethod
    def fit(
        cls,
        x: Any,
        dims: int | None = None,
        *,
        ratio: float | None = None,
        time_budget_s: float | None = None,
        seed: int = 0,
    ) -> Self:
        """Learns from rows; a tenth of them, at most 2,000, are held out and judge the settings.

        x              [n, dim] float32 (float64 and float16 are converted), finite, n >= 20, any
                       scale. Of more than 200,000 rows as many, drawn at random.
        dims           Float32 numbers that a compressed row may take, in [1, dim].
        ratio          Instead of `dims`: the share of bytes to remove, in [0, 1); `kept_dims`.
        time_budget_s  Seconds of the process's processor time, all its threads together, for all
                       trials together: what a machine without other load spends on one thread, so
                       that other load favours no baseline. None: a fixed number of steps. The
                       closed forms need none. Gradient descent under a budget takes as many steps
                       as fit, so that equal seeds need not give equal models.
        seed           Of the held-out part and of everything drawn.

        Raises InvalidArgumentError (a shape, a value or an option is out of range).
        """
        matrix = as_matrix(x, "Rows")
        count, dim = matrix.shape
        if count < LEAST_ROWS or dim < 1:
            raise InvalidArgumentError(
                f"Too few rows to fit and to hold some out: shape {matrix.shape},"
                f" expected at least {LEAST_ROWS} rows"
            )
        if (dims is None) == (ratio is None):
            raise InvalidArgumentError(
                f"Say either how many dims to keep or what ratio to remove: dims {dims!r},"
                f" ratio {ratio!r}"
            )
        kept = as_count(dims, "dims", 1, dim) if ratio is None else kept_dims(dim, ratio)
        if time_budget_s is not None and (
            not isinstance(time_budget_s, int | float | np.number)
            or not 0 < float(time_budget_s) < float("inf")
        ):
            raise InvalidArgumentError(
                f"Time budget must be a positive number of seconds: {time_budget_s!r}"
            )
        generator = np.random.default_rng(as_count(seed, "seed", 0, 2**64 - 1))
        started = time.process_time()
        learned, held_out = _split(matrix, generator)
        self = cls(dim, kept)
        start, trials, best = self._learn(
            learned,
            held_out,
            None if time_budget_s is None else started + float(time_budget_s),
            generator,
        )
        self.report = FitReport(
            cls.measure,
            len(learned),
            len(held_out),
            time.process_time() - started,
            start,
            tuple(trials),
            best,
            trials[best].held_out,
        )
        return self

    def transform(self, x: Any) -> Rows:
        """Compresses rows.

        x  [n, dim] float32, finite; n may be 0.

        Returns [n, width] float32: what a consumer of compressed features sees. Raises
        InvalidArgumentError (a shape or a value).
        """
        matrix = self._checked(x)
        out = np.empty((len(matrix), self.width), np.float32)
        for first in range(0, len(matrix), _BLOCK_ROWS):
            block = slice(first, first + _BLOCK_ROWS)
            out[block] = self._compress(matrix[block])
        return out

    def reconstruct(self, rows: Any) -> Rows:
        """Turns compressed rows back into features.

        rows  [n, width] float32, as `transform` returns them.

        Returns [n, dim] float32. Raises InvalidArgumentError (a shape or a value),
        UnsupportedError (this kind has no decoder).
        """
        matrix = as_matrix(rows, "Compressed rows")
        if matrix.shape[1] != self.width:
            raise InvalidArgumentError(
                f"Compressed rows' width differs from what was fitted: {matrix.shape[1]},"
                f" expected {self.width}"
            )
        out = np.empty((len(matrix), self.dim), np.float32)
        for first in range(0, len(matrix), _BLOCK_ROWS):
            block = slice(first, first + _BLOCK_ROWS)
            out[block] = self._expand(_finite(matrix[block], first))
        return out

    @property
    def width(self) -> int:
        """Columns of what `transform` returns."""
        return self.dims

    @property
    def bytes_per_row(self) -> int:
        """What a stored row takes, the model excluded; at most 4 * dims."""
        return FLOAT_BYTES * self.dims

    @property
    @abc.abstractmethod
    def model_bytes(self) -> int:
        """Size of everything that `transform` and `reconstruct` need beside the row."""

    def _checked(self, x: Any) -> Rows:
        """Returns rows x [n, dim] as what `_compress` takes. Raises InvalidArgumentError."""
        matrix = as_matrix(x, "Rows")
        if matrix.shape[1] != self.dim:
            raise InvalidArgumentError(
                f"Rows' width differs from what was fitted: {matrix.shape[1]}, expected {self.dim}"
            )
        for first in range(0, len(matrix), _BLOCK_ROWS):
            _finite(matrix[first : first + _BLOCK_ROWS], first)
        return matrix

    @abc.abstractmethod
    def _learn(
        self,
        rows: Rows,
        held_out: Rows,
        deadline: float | None,
        generator: np.random.Generator,
    ) -> tuple[float, list[Trial], int]:
        """Fits itself; returns the measure at the start, the trials, and the kept one's place.

        rows      [n, dim] finite, C-contiguous; never among `held_out`.
        held_out  [m, dim], m >= 2.
        deadline  Of time.process_time(); None: none.
        """

    @abc.abstractmethod
    def _compress(self, rows: Rows) -> Rows:
        """Returns [n, width] of finite rows [n, dim]."""

    def _expand(self, rows: Rows) -> Rows:
        """Returns [n, dim] of compressed rows [n, width]."""
        raise UnsupportedError(f"There is no decoder in a baseline of this kind: {self.name}")


def explained(rows: Rows, approximations: Rows, mean: Rows) -> float:
    """Returns the share of the energy around `mean` [dim] that approximations keep, at most 1.

    rows            [n, dim].
    approximations  [n, dim].
    """
    energy = float(np.sum(np.square(rows - mean), dtype=np.float64))
    left = float(np.sum(np.square(rows - approximations), dtype=np.float64))
    return 1 - left / max(energy, 1e-30)


class Neighbourhood:
    """The nearest others of some rows, to ask which of them a compression keeps."""

    def __init__(self, rows: Rows, k: int = 10) -> None:
        """Finds them by cosine; k is cut to the number of others."""
        self._k = min(k, len(rows) - 1)
        self._truth = nearest_others(rows, self._k)

    def kept(self, compressed: Rows) -> NDArray[np.float64]:
        """Returns for each row the share of its nearest others that stay among the k nearest.

        compressed  [n, any width] in the rows' order.

        Returns [n] float64.
        """
        return evaluate.recalls_at_k(nearest_others(compressed, self._k), self._truth, self._k)


def nearest_others(rows: Rows, k: int) -> NDArray[np.int64]:
    """Returns the k nearest other rows of each row by cosine, best first.

    rows  [n, dim], n > k.

    Returns [n, k] int64.
    """
    found = evaluate.exact(rows, rows, k + 1, "cosine")
    own = found == np.arange(len(rows))[:, None]
    # Among many equal rows a row need not be in its own list: the last one is left out instead.
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(len(rows), k)


def _split(rows: Rows, generator: np.random.Generator) -> tuple[Rows, Rows]:
    """Returns rows to learn from and held-out ones, both copied and finite."""
    count = min(len(rows), _MOST_ROWS)
    order = generator.permutation(len(rows))[:count]
    held_out = min(_MOST_HELD_OUT, max(2, count // 10))
    # Sorted, so that a file that is mapped into memory is read forwards.
    return tuple(
        _finite(rows[places], places)
        for places in (np.sort(order[held_out:]), np.sort(order[:held_out]))
    )


def _finite(rows: Rows, places: NDArray[np.int64] | int) -> Rows:
    """Returns rows if they are finite; `places` are their numbers in messages, or the first's."""
    good = np.isfinite(rows).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        place = row + places if isinstance(places, int) else int(places[row])
        raise InvalidArgumentError(f"Rows must be finite: row {place} is not")
    return rows
