"""Principal components: the leading axes of the training rows (Hotelling, 1933)."""

from __future__ import annotations

import time

import numpy as np

from arfc.baselines.baseline import FLOAT_BYTES, Baseline, Neighbourhood, Rows, Trial


class Pca(Baseline):
    """Projects rows onto their leading principal axes.

    Two trials, both closed forms: axes of the covariance, the mean removed, or axes of the second
    moment, the mean kept (a truncated singular value decomposition, which is what approximates
    cosines of features that do not lie around zero). The one that keeps more of the held-out rows'
    neighbours stays.
    """

    name = "pca"
    measure = "neighbours"

    def _learn(
        self,
        rows: Rows,
        held_out: Rows,
        deadline: float | None,
        generator: np.random.Generator,
    ) -> tuple[float, list[Trial], int]:
        neighbourhood = Neighbourhood(held_out)
        trials: list[Trial] = []
        choices: list[tuple[Rows, Rows]] = []
        for centred in (True, False):
            started = time.process_time()
            self._mean, self._axes = principal_axes(rows, self.dims, centred)
            choices.append((self._mean, self._axes))
            kept = float(neighbourhood.kept(self._compress(held_out)).mean())
            trials.append(Trial({"centred": centred}, time.process_time() - started, 0, kept))
        best = int(np.argmax([trial.held_out for trial in trials]))
        self._mean, self._axes = choices[best]
        return trials[0].held_out, trials, best

    @property
    def mean(self) -> Rows:
        """What is subtracted first, [dim]."""
        return self._mean

    @property
    def axes(self) -> Rows:
        """Orthonormal axes as columns, [dim, dims], that of the largest variance first."""
        return self._axes

    @property
    def model_bytes(self) -> int:
        """Mean and axes, in bytes."""
        return FLOAT_BYTES * (self._mean.size + self._axes.size)

    def _compress(self, rows: Rows) -> Rows:
        return (rows - self._mean) @ self._axes

    def _expand(self, rows: Rows) -> Rows:
        return rows @ self._axes.T + self._mean


def principal_axes(rows: Rows, dims: int, centred: bool = True) -> tuple[Rows, Rows]:
    """Returns the mean [dim] to subtract (zeros unless `centred`) and axes [dim, dims].

    rows  [n, dim] finite.

    Axes are eigenvectors of the covariance, or of the second moment, largest eigenvalue first, each
    signed so that its largest entry is positive. Where rows have fewer directions than `dims`, the
    rest is any orthonormal completion.
    """
    mean = rows.mean(axis=0, dtype=np.float64) if centred else np.zeros(rows.shape[1])
    moment = np.zeros((rows.shape[1], rows.shape[1]))
    for first in range(0, len(rows), 8_192):
        block = rows[first : first + 8_192].astype(np.float64) - mean
        moment += block.T @ block
    axes = np.linalg.eigh(moment)[1][:, ::-1][:, :dims]
    largest = axes[np.argmax(np.abs(axes), axis=0), np.arange(dims)]
    return mean.astype(np.float32), np.ascontiguousarray(axes * np.sign(largest), np.float32)
