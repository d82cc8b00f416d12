"""Post-training quantization: the feature's own numbers as integers of a few bits."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arfc._arrays import as_codes
from arfc.baselines.baseline import FLOAT_BYTES, Baseline, Rows, Trial, explained
from arfc.errors import InvalidArgumentError

WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 16)
"""Bits a number may take. Integers are packed without gaps, so 3 bits cost 3."""
_CLIPPINGS = np.geomspace(0.03, 1.0, 21)
_MOST_CALIBRATION_ROWS = 4_000  # ranges of single numbers; more rows move none of them visibly


@dataclass(frozen=True)
class _Grid:
    """Uniform integers of some of the dimensions."""

    bits: int
    dims: NDArray[np.int64]
    """Dimensions that are kept, [kept]."""
    low: Rows
    """Value of integer 0, [kept]."""
    step: Rows
    """Distance of two integers, [kept]; 0 where a dimension is constant."""
    centre: Rows
    """What a dropped dimension is read as, [dim]: the training rows' mean."""

    def integers(self, rows: Rows) -> NDArray[np.uint16]:
        """Returns the integers of rows [n, dim] as [n, kept]."""
        step = np.where(self.step > 0, self.step, 1)
        levels = np.rint((rows[:, self.dims] - self.low) / step)
        return np.clip(levels, 0, 2**self.bits - 1).astype(np.uint16)

    def values(self, integers: NDArray[np.uint16]) -> Rows:
        """Returns what integers [n, kept] stand for, [n, dim]."""
        rows = np.repeat(self.centre[None], len(integers), axis=0)
        rows[:, self.dims] = self.low + integers * self.step
        return rows


class Quantization(Baseline):
    """Stores each dimension of the original feature as a `bits`-bit integer, uniformly spaced.

    The budget is the float baselines': 4 * dims bytes a row, that is 32 * dims bits. A width of
    `bits` pays for floor(32 * dims / bits) dimensions; where that is fewer than there are, those of
    the largest variance stay and the others are read as their mean. Bits are packed, so a row takes
    ceil(bits * kept / 8) bytes. Of 384 floats, 75 % removed is 8 bits of each; 90 % (152 bytes) is
    3 bits of each, or 4 of 304; 95 % (76 bytes) 1 bit of each, or 2 of 304. Every width of
    `WIDTHS` is a trial; the one that explains most of the held-out rows stays.

    Each dimension's range is clipped to what leaves the least squared error on the training rows
    (Banner et al., NeurIPS 2019, by search instead of a formula): around the middle of its extremes
    and around its mean, each at 21 shares of the half range. Offsets and steps belong to the model,
    not to the row. There is no rotation and nothing learned beyond ranges: this is what a database
    does to stored features.
    """

    name = "quantization"
    measure = "explained"

    def _learn(
        self,
        rows: Rows,
        held_out: Rows,
        deadline: float | None,
        generator: np.random.Generator,
    ) -> tuple[float, list[Trial], int]:
        sample = rows
        if len(rows) > _MOST_CALIBRATION_ROWS:
            drawn = generator.choice(len(rows), _MOST_CALIBRATION_ROWS, replace=False)
            sample = rows[np.sort(drawn)]
        mean = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        by_variance = np.argsort(-sample.var(axis=0, dtype=np.float64), kind="stable")
        trials: list[Trial] = []
        grids: list[_Grid] = []
        for bits in WIDTHS:
            started = time.process_time()
            affordable = min(self.dim, 32 * self.dims // bits)
            dims = np.sort(by_variance[:affordable])
            low, step = _ranges(sample[:, dims], bits)
            grid = _Grid(bits, dims, low, step, mean)
            value = explained(held_out, grid.values(grid.integers(held_out)), mean)
            settings = {"bits": bits, "kept_dims": affordable}
            trials.append(Trial(settings, time.process_time() - started, 0, value))
            grids.append(grid)
        best = int(np.argmax([trial.held_out for trial in trials]))
        self._grid = grids[best]
        return trials[0].held_out, trials, best

    @property
    def width(self) -> int:
        """Columns of what `transform` returns: all of them, since it returns dequantised rows."""
        return self.dim

    @property
    def bits(self) -> int:
        """Bits that a kept dimension takes."""
        return self._grid.bits

    @property
    def kept(self) -> NDArray[np.int64]:
        """Dimensions that are stored, ascending, [<= dim]."""
        return self._grid.dims

    @property
    def bytes_per_row(self) -> int:
        """Packed integers of one row, in bytes; at most 4 * dims."""
        return -(-self._grid.bits * len(self._grid.dims) // 8)

    @property
    def model_bytes(self) -> int:
        """Means, places, offsets and steps of the dimensions, in bytes."""
        return FLOAT_BYTES * (self.dim + 3 * len(self._grid.dims))

    def pack(self, x: Any) -> NDArray[np.uint8]:
        """Returns rows as they would be stored: integers one after the other, low bits first.

        x  [n, dim] float32, finite.

        Returns [n, bytes_per_row] uint8. Raises what `transform` raises.
        """
        integers = self._grid.integers(self._checked(x))
        shifts = np.arange(self._grid.bits, dtype=np.uint16)
        bits = (integers[:, :, None] >> shifts & 1).astype(np.uint8)
        return np.packbits(bits.reshape(len(bits), -1), axis=1, bitorder="little")

    def unpack(self, codes: Any) -> Rows:
        """Returns the dequantised rows of what `pack` made, equal to what `transform` returns.

        codes  [n, bytes_per_row] uint8.

        Returns [n, dim] float32. Raises InvalidArgumentError (a shape or type).
        """
        matrix = as_codes(codes)
        if matrix.shape[1] != self.bytes_per_row:
            raise InvalidArgumentError(
                f"Codes' length differs from what was fitted: {matrix.shape[1]},"
                f" expected {self.bytes_per_row}"
            )
        count = self._grid.bits * len(self._grid.dims)
        bits = np.unpackbits(matrix, axis=1, count=count, bitorder="little")
        weights = (1 << np.arange(self._grid.bits)).astype(np.uint16)
        grouped = bits.reshape(len(matrix), len(self._grid.dims), self._grid.bits)
        return self._grid.values((grouped * weights).sum(axis=2, dtype=np.uint16))

    def _compress(self, rows: Rows) -> Rows:
        return self._grid.values(self._grid.integers(rows))

    def _expand(self, rows: Rows) -> Rows:
        return rows


def _ranges(rows: Rows, bits: int) -> tuple[Rows, Rows]:
    """Returns low [dims] and step [dims] of least squared error among the clippings tried."""
    least, most = rows.min(axis=0), rows.max(axis=0)
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    half = np.maximum(most - mean, mean - least)
    top = np.float32(2**bits - 1)
    best = np.full(rows.shape[1], np.inf)
    low, step = least.copy(), np.zeros_like(least)
    # At 8 bits and more clipping gains next to nothing, and a fine grid costs most there.
    shares = _CLIPPINGS if bits < 8 else _CLIPPINGS[-8:]
    for middle, reach in (((least + most) / 2, (most - least) / 2), (mean, half)):
        for share in shares.astype(np.float32):
            candidate_low = middle - share * reach
            candidate_step = 2 * share * reach / top
            divisor = np.where(candidate_step > 0, candidate_step, 1)
            levels = np.clip(np.rint((rows - candidate_low) / divisor), 0, top)
            error = np.square(candidate_low + levels * candidate_step - rows).sum(axis=0)
            better = error < best
            best[better] = error[better]
            low[better], step[better] = candidate_low[better], candidate_step[better]
    return low, step
