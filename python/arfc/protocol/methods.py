"""What is compared: the features as they are, the baselines, and arfc."""

from __future__ import annotations

import abc
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

import arfc
from arfc.baselines import BASELINES, Baseline, FitReport

Rows = NDArray[np.float32]
_FLOAT_BYTES = 4


class _Transform(Protocol):
    def __call__(self, x: Any, /) -> Rows: ...


@dataclass(frozen=True)
class Compressed:
    """A way to compress rows to one size."""

    transform: _Transform
    """[n, dim] -> [n, any width] float32, what probes and searches see."""
    reconstruct: _Transform | None
    """[n, that width] -> [n, dim]; None: the method has no decoder."""
    bytes_per_row: int
    model_bytes: int
    seconds: float
    """Wall time of its fit; where one model serves all sizes, that model's."""
    report: FitReport | None = None
    """What a baseline tried."""
    model_id: str = ""
    """Which model it was, where models have ids."""


class Method(abc.ABC):
    """A row of `METHODS`: prepared for rows, then asked for sizes."""

    one_model: ClassVar[bool] = False
    """Whether one fit serves every size, so that a table's cells must come from the same one."""

    @classmethod
    def left_out(cls) -> str | None:
        """Returns why this method cannot be measured here; None: it can."""
        return None

    def prepare(self, x: Rows, ratios: int, seconds: float | None, seed: int) -> None:
        """Takes the training rows.

        x        [n, dim] finite.
        ratios   How many sizes will be asked for. A method that fits each takes `seconds` for each;
                 one with a single model may take ratios * seconds for it: the same total.
        seconds  Budget of one size's fit, processor time for baselines and wall time for arfc;
                 None: the methods' own.
        seed     Of everything drawn.
        """
        self._rows, self._ratios, self._seconds, self._seed = x, ratios, seconds, seed

    @abc.abstractmethod
    def at(self, dims: int) -> Compressed:
        """Returns the compression to `dims` float32 numbers' bytes; fits it where needed.

        Raises UnsupportedError: not to this size, and why.
        """


class Uncompressed(Method):
    """The features as they are, whatever size is asked for."""

    def at(self, dims: int) -> Compressed:
        return Compressed(_unchanged, _unchanged, _FLOAT_BYTES * self._rows.shape[1], 0, 0.0)


class BaselineMethod(Method):
    """A row of `arfc.baselines.BASELINES`."""

    def __init__(self, baseline: type[Baseline]) -> None:
        self._baseline = baseline

    def at(self, dims: int) -> Compressed:
        started = time.perf_counter()
        model = self._baseline.fit(self._rows, dims, time_budget_s=self._seconds, seed=self._seed)
        has_decoder = type(model)._expand is not Baseline._expand
        return Compressed(
            model.transform,
            model.reconstruct if has_decoder else None,
            model.bytes_per_row,
            model.model_bytes,
            time.perf_counter() - started,
            model.report,
        )


class _Trained(Method):
    """One arfc model that serves every size."""

    one_model = True

    def prepare(self, x: Rows, ratios: int, seconds: float | None, seed: int) -> None:
        super().prepare(x, ratios, seconds, seed)
        self._model: Any = None
        self._spent = 0.0

    def _train(self, **options: Any) -> Any:
        if self._model is None:
            started = time.perf_counter()
            self._model = arfc.Compressor.train(
                self._rows,
                metric="cosine",
                time_budget_s=None if self._seconds is None else self._ratios * self._seconds,
                seed=self._seed,
                **options,
            )
            self._spent = time.perf_counter() - started
        return self._model


class Arfc(_Trained):
    """Compressed float features of one arfc model, any size by keeping the leading numbers."""

    def at(self, dims: int) -> Compressed:
        # Codes have no part in features: the shortest leave them the time.
        model = self._train(features=True, code_bytes=1, relations=False)
        return Compressed(
            lambda x: model.features(x, dims),
            None,
            _FLOAT_BYTES * dims,
            model.model_bytes,
            self._spent,
            model_id=model.id,
        )


class ArfcCodes(_Trained):
    """Rows that arfc's codes of as many bytes, or of the longest there are, decode to."""

    _MOST_BYTES = 1024

    def at(self, dims: int) -> Compressed:
        longest = min(self._MOST_BYTES, _FLOAT_BYTES * self._rows.shape[1])
        length = min(_FLOAT_BYTES * dims, longest)
        model = self._train(code_bytes=longest)
        return Compressed(
            lambda x: model.decode(model.encode(x, length)),
            None,
            length,
            model.model_bytes,
            self._spent,
            model_id=model.id,
        )


METHODS: dict[str, Callable[[], Method]] = {
    "uncompressed": Uncompressed,
    **{name: functools.partial(BaselineMethod, kind) for name, kind in BASELINES.items()},
    "arfc": Arfc,
    "arfc_codes": ArfcCodes,
}
"""Name -> what makes the method when called."""


def _unchanged(x: Rows) -> Rows:
    return x
