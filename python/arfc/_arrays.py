"""Turns what users pass into arrays that the native module takes, without a copy where possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from arfc.errors import InvalidArgumentError, ResourceExhaustedError

_FLOATS = (np.float16, np.float32, np.float64)


def _as_array(value: Any, what: str) -> NDArray[Any]:
    """Returns `value` as an array: NumPy's or DLPack's memory on the CPU, or a copied sequence."""
    if isinstance(value, np.ndarray):
        return value
    try:
        if hasattr(value, "__dlpack__"):
            return np.from_dlpack(value)
        return np.asarray(value)
    except Exception as error:
        raise InvalidArgumentError(
            f"{what} cannot be read as an array in this machine's memory ({error}):"
            f" {type(value).__name__}"
        ) from error


def as_matrix(value: Any, what: str = "Embeddings", dim: int | None = None) -> NDArray[np.float32]:
    """Returns a float32, C-contiguous matrix: `value` itself where it is one, else a converted
    copy.

    value  [n, dim] float16, float32 or float64; anything NumPy or DLPack understands.
    dim    Width that the rows must have; None: any.
    """
    array = _as_array(value, what)
    if array.ndim != 2:
        raise InvalidArgumentError(f"{what} must be a matrix [rows, dim]: shape {array.shape}")
    if array.dtype.newbyteorder("=") not in _FLOATS:
        raise InvalidArgumentError(
            f"{what} must be float32, float64 or float16: {array.dtype}, shape {array.shape}"
        )
    if dim is not None and array.shape[1] != dim:
        raise InvalidArgumentError(
            f"Embedding width differs from the model's: {array.shape[1]}, expected {dim},"
            f" shape {array.shape}"
        )
    return np.require(array, np.float32, ["C_CONTIGUOUS", "ALIGNED"])


def as_codes(value: Any) -> NDArray[np.uint8]:
    """Returns codes as a uint8, C-contiguous matrix [n, bytes]."""
    array = _as_array(value, "Codes")
    if array.ndim != 2 or array.dtype != np.uint8:
        raise InvalidArgumentError(
            f"Codes must be a uint8 matrix [rows, bytes]: {array.dtype}, shape {array.shape}"
        )
    return np.require(array, np.uint8, ["C_CONTIGUOUS", "ALIGNED"])


def as_ids(
    value: Any, dtype: type[np.int64] | type[np.uint64], rows: int | None = None
) -> NDArray[Any]:
    """Returns ids as a C-contiguous vector of `dtype`; values outside its range are refused.

    rows  How many there must be; None: any number.
    """
    is_sequence = isinstance(value, list | tuple | range)
    array = _integers(value) if is_sequence else _as_array(value, "Ids")
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidArgumentError(
            f"Ids must be a vector of integers: {array.dtype}, shape {array.shape}"
        )
    if rows is not None and array.shape[0] != rows:
        raise InvalidArgumentError(
            f"Ids and rows differ in number: {array.shape[0]} ids, {rows} rows"
        )
    limits = np.iinfo(dtype)
    if array.size:
        low, high = int(array.min()), int(array.max())
        if low < limits.min or high > limits.max:
            worst = low if low < limits.min else high
            raise InvalidArgumentError(
                f"Id is out of range: {worst}, expected [{limits.min}, {limits.max}]"
            )
    return np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"])


def _integers(values: Sequence[Any]) -> NDArray[Any]:
    """Returns Python integers as an array that holds them: NumPy alone would round large ones."""
    if not all(
        isinstance(value, int | np.integer) and not isinstance(value, bool) for value in values
    ):
        return _as_array(values, "Ids")
    low, high = min(values, default=0), max(values, default=0)
    if low < -(2**63) or high >= 2**64 or (low < 0 and high >= 2**63):
        raise InvalidArgumentError(f"Ids are out of range: {low} to {high}")
    return np.array(values, np.uint64 if high >= 2**63 else np.int64)


def allocate(rows: int, columns: int, dtype: type[np.generic]) -> NDArray[Any]:
    """Returns an uninitialised matrix [rows, columns] that the native module fills."""
    try:
        return np.empty((rows, columns), dtype)
    except (MemoryError, ValueError) as error:
        raise ResourceExhaustedError(
            f"Answer does not fit into memory: {rows} rows of {columns} {dtype.__name__}"
        ) from error


def as_count(value: Any, what: str, low: int = 1, high: int = 2**31 - 1) -> int:
    """Returns an integer in [low, high]; True and False are not integers here."""
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        count = int(value.__index__())
    except (TypeError, AttributeError):
        raise InvalidArgumentError(f"{what} must be an integer: {value!r}") from None
    if not low <= count <= high:
        raise InvalidArgumentError(f"{what} is out of range: {count}, expected [{low}, {high}]")
    return count


def as_stages(stages: Any) -> list[tuple[int, int]]:
    """Returns stages as (bytes, limit) pairs; a plain number is a length, its limit 0: default."""
    if stages is not None and (
        isinstance(stages, str | bytes | Mapping) or not isinstance(stages, Iterable)
    ):
        raise InvalidArgumentError(f"Stages must be a sequence: {stages!r}")
    pairs = []
    for stage in () if stages is None else stages:
        if not isinstance(stage, Mapping):
            pairs.append((as_count(stage, "Stage's bytes"), 0))
            continue
        unknown = sorted(set(stage) - {"bytes", "limit"})
        if unknown or "bytes" not in stage:
            raise InvalidArgumentError(f'A stage is {{"bytes": b, "limit": rows}}: {dict(stage)!r}')
        pairs.append(
            (
                as_count(stage["bytes"], "Stage's bytes"),
                as_count(stage.get("limit", 0), "Stage's limit", 0),
            )
        )
    return pairs


def as_until(until: Any, max_bytes: Any) -> tuple[float | None, int | None] | None:
    """Returns what `until` and its budget say as (confidence, bytes); None: nothing is asked for.

    A proof has no confidence.
    """
    budget = None if max_bytes is None else as_count(max_bytes, "max_bytes")
    if until is None:
        if budget is not None:
            raise InvalidArgumentError(
                f'max_bytes bounds what `until` reads; ask until="certain", too: {budget}'
            )
        return None
    if isinstance(until, str) and until == "certain":
        return None, budget
    if not isinstance(until, Mapping) or set(until) != {"confidence"}:
        raise InvalidArgumentError(f'Until is "certain" or {{"confidence": p}}: {until!r}')
    confidence = until["confidence"]
    if isinstance(confidence, bool) or not isinstance(confidence, int | float | np.number):
        raise InvalidArgumentError(f"Confidence must be a number in (0, 1): {confidence!r}")
    return float(confidence), budget
