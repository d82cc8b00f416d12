"""An index in memory with the habits of FAISS: its strings, method names and shapes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from arfc import _arfc
from arfc._arrays import (
    allocate,
    as_codes,
    as_count,
    as_ids,
    as_matrix,
    as_stages,
    as_until,
)
from arfc.compressor import (
    Compressor,
    ProgressFunction,
    model_directory,
    native_path,
    native_progress,
    native_seconds,
)
from arfc.errors import InvalidArgumentError, UnsupportedError

METRIC_INNER_PRODUCT = 0
"""Larger = closer. Rows of unit length make it the cosine."""
METRIC_L2 = 1
"""Squared Euclidean distance; smaller = closer."""


@final
@dataclass(frozen=True)
class SearchParametersARFC:
    """How one search runs; what is None is what was measured best at train time."""

    stages: Sequence[int | Mapping[str, int]] | None = None
    """Prefix lengths in bytes, ascending, or {"bytes": b, "limit": rows kept}; ARFC only."""
    nprobe: int | None = None
    """Inverted lists to scan."""
    efSearch: int | None = None  # noqa: N815
    """Rows that a walk through a graph keeps in view; named as FAISS names it."""
    sel: Any = None
    """Integer ids [n]: only these are answers."""
    until: str | Mapping[str, float] | None = None
    """"certain" or {"confidence": p}, instead of stages, nprobe and efSearch, as in
    `Collection.search`; ARFC only. `Index.search_certified` tells what was reached."""
    max_bytes: int | None = None
    """With `until`, code bytes that may be read for a query; None: as many as it takes."""


@final
class Index:
    """Rows kept as codes in memory, searchable by k nearest neighbours.

    It is no `faiss.Index` of the faiss wheel, which is another library; both may live in one
    process. All methods may be called from many threads and release the interpreter's lock:
    searches run beside each other, changes alone. After an exception the index is as it was.

    Get one from `index_factory` or `read_index`.
    """

    __slots__ = ("_native",)

    def __init__(self) -> None:
        raise UnsupportedError(
            "Index has no constructor: use arfc.index_factory or arfc.read_index"
        )

    @classmethod
    def _wrap(cls, native: _arfc.Index) -> Index:
        self = object.__new__(cls)
        self._native = native
        return self

    @property
    def d(self) -> int:
        """Embedding width, in floats."""
        return self._native.dim

    @property
    def ntotal(self) -> int:
        """Rows in the index."""
        return self._native.ntotal

    @property
    def is_trained(self) -> bool:
        """Whether rows can be added."""
        return self._native.is_trained

    @property
    def metric_type(self) -> int:
        """METRIC_INNER_PRODUCT or METRIC_L2."""
        return self._native.metric

    @property
    def factory(self) -> str:
        """The string that the index was made from; of one that was read, `reverse_index_factory`'s,
        and empty where none is known.
        """
        return self._native.factory

    def train(
        self,
        x: Any,
        *,
        time_budget_s: float | None = None,
        seed: int = 0,
        device: str = "auto",
        progress: ProgressFunction | None = None,
        model: Compressor | str | os.PathLike[str] | None = None,
        lists_per_row: int | None = None,
    ) -> None:
        """Learns from rows; the index must hold none.

        x      [n, d] float32, finite. Under METRIC_INNER_PRODUCT, rows that all have unit length
               (within 1e-3) make an ARFC index a cosine one: `add` then takes unit rows only.
        model  A compressor or a model directory to use instead of training one, so that many
               indexes share what is learned once. Its codes are at least as long as the factory
               string's, of which theirs are then the beginnings; rows teach lists and defaults.
        lists_per_row
               With IVF: lists that each row is put into, in [1, 3]; each further one costs its
               head, term and number again. None: as many as recall by few probed lists asks for.
        The other options are those of `Compressor.train`; FAISS's own indexes ignore them, and
        refuse a model.

        Raises InvalidArgumentError (a shape or value; the model's width, metric or code length),
        FailedPreconditionError (there are rows), UnsupportedError (a model, and no ARFC index to
        take it), NotFoundError, CorruptionError (the model's directory), CancelledError,
        KeyboardInterrupt.
        """
        matrix = as_matrix(x, dim=self.d)
        with model_directory(model) as directory:
            self._native.train(
                matrix,
                native_seconds(time_budget_s),
                as_count(seed, "seed", 0, 2**64 - 1),
                device,
                native_progress(progress),
                directory,
                0 if lists_per_row is None else as_count(lists_per_row, "lists_per_row", 1, 3),
            )

    def add(self, x: Any) -> None:
        """Appends rows; their ids go on from `ntotal`.

        x  [n, d] float32, finite.

        Raises InvalidArgumentError (a shape or value), FailedPreconditionError (not trained).
        """
        self._native.add(as_matrix(x, dim=self.d))

    def add_with_ids(self, x: Any, ids: Any) -> None:
        """Appends rows under ids of the caller's.

        x    [n, d] float32, finite.
        ids  [n] int64.

        Raises what `add` raises, and UnsupportedError: this kind keeps no ids; put "IDMap2," before
        the string.
        """
        matrix = as_matrix(x, dim=self.d)
        self._native.add_with_ids(matrix, as_ids(ids, np.int64, matrix.shape[0]))

    def search(
        self, q: Any, k: int, params: SearchParametersARFC | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Finds the k best rows of each query.

        q       [m, d] float32, finite.
        k       Answers per query, >= 1.
        params  None: what was measured best at train time.

        Returns (D, I): D [m, k] float32 inner products, descending, or squared distances,
        ascending; I [m, k] int64 ids, -1 where there were fewer. Raises InvalidArgumentError,
        FailedPreconditionError (not trained), UnsupportedError (a parameter that this kind does not
        have).
        """
        queries = as_matrix(q, "Queries", dim=self.d)
        count = as_count(k, "k")
        distances = allocate(queries.shape[0], count, np.float32)
        labels = allocate(queries.shape[0], count, np.int64)
        self._native.search(queries, *_parameters(params), distances, labels)
        return distances, labels

    def search_certified(
        self, q: Any, k: int, params: SearchParametersARFC
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], list[str]]:
        """Searches with `params.until`, and tells how sure each answer is; ARFC only.

        q       [m, d] float32, finite.
        k       Answers per query, >= 1.
        params  With `until`, and what `search` takes beside it.

        Returns (D, I, certainty): D and I as `search`; per query "none", "confident", "codes"
        (proved to be the answer of scoring every row by its whole code) or "originals" (proved to
        be the nearest of the rows that were added, too). Raises what `search` raises, and
        FailedPreconditionError: a confidence of an index without a calibration.
        """
        queries = as_matrix(q, "Queries", dim=self.d)
        count = as_count(k, "k")
        distances = allocate(queries.shape[0], count, np.float32)
        labels = allocate(queries.shape[0], count, np.int64)
        certainty = self._native.search_certified(queries, *_parameters(params), distances, labels)
        return distances, labels, certainty

    def range_search(
        self, q: Any, radius: float, params: SearchParametersARFC | None = None
    ) -> tuple[NDArray[np.uint64], NDArray[np.float32], NDArray[np.int64]]:
        """Finds every row nearer than `radius`: of squared distance < radius under METRIC_L2, of
        inner product > radius under METRIC_INNER_PRODUCT.

        q       [m, d] float32, finite.
        radius  Squared distance or inner product; not NaN.
        params  Of ARFC indexes every row of the probed lists is scored by the longest prefix, or
                by the last of `stages`, which take no limits here; the default nprobe was measured
                for ten answers, and with all lists nothing is missed.

        Returns (lims, D, I) as FAISS: query i's answers are [lims[i], lims[i + 1]) of D and I, in
        no order.
        Raises what `search` raises, and UnsupportedError: this kind (a graph) cannot.
        """
        queries = as_matrix(q, "Queries", dim=self.d)
        return self._native.range_search(queries, float(radius), *_parameters(params))

    def reconstruct(self, key: int) -> NDArray[np.float32]:
        """Returns the approximation of a row that the index keeps, [d].

        Raises NotFoundError (no such id), UnsupportedError (this kind cannot).
        """
        return self._native.reconstruct(as_count(key, "Id", -(2**63), 2**63 - 1))

    def reconstruct_batch(self, ids: Any) -> NDArray[np.float32]:
        """Returns the approximations of rows ids [n], as [n, d]; an id may repeat.

        Raises what `reconstruct` raises.
        """
        return self._native.reconstruct_batch(as_ids(ids, np.int64))

    def reconstruct_n(self, n0: int, ni: int) -> NDArray[np.float32]:
        """Returns the approximations of rows [n0, n0 + ni) in the order they were added, whatever
        their ids, as [ni, d].

        Raises NotFoundError (there are fewer rows), UnsupportedError (this kind cannot).
        """
        first, count = as_count(n0, "n0", 0, 2**63 - 1), as_count(ni, "ni", 0, 2**63 - 1)
        return self._native.reconstruct_rows(first, count)

    def search_and_reconstruct(
        self, q: Any, k: int, params: SearchParametersARFC | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Searches as `search` does, and reconstructs each answer.

        q       [m, d] float32, finite.

        Returns (D, I, R): R [m, k, d] float32, NaN where there were fewer. Raises what `search`
        raises, and UnsupportedError: this kind cannot.
        """
        queries = as_matrix(q, "Queries", dim=self.d)
        count = as_count(k, "k")
        distances = allocate(queries.shape[0], count, np.float32)
        labels = allocate(queries.shape[0], count, np.int64)
        rows = allocate(queries.shape[0], count * self.d, np.float32)
        self._native.search_and_reconstruct(queries, *_parameters(params), distances, labels, rows)
        return distances, labels, rows.reshape(queries.shape[0], count, self.d)

    def sa_code_size(self) -> int:
        """Returns the length of the index's codes, in bytes.

        Raises UnsupportedError: this kind has no codec.
        """
        return self._native.code_size()

    def sa_encode(self, x: Any) -> NDArray[np.uint8]:
        """Encodes rows without adding them.

        x  [n, d] float32, finite.

        Returns [n, sa_code_size()] uint8; of ARFC indexes the first b bytes are the code of length
        b. Raises InvalidArgumentError (a shape or value), FailedPreconditionError (not trained),
        UnsupportedError (no codec).
        """
        rows = as_matrix(x, dim=self.d)
        codes = allocate(rows.shape[0], self.sa_code_size(), np.uint8)
        self._native.encode(rows, codes)
        return codes

    def sa_decode(self, codes: Any) -> NDArray[np.float32]:
        """Reconstructs rows from what `sa_encode` made.

        codes  [n, sa_code_size()] uint8.

        Returns [n, d] float32; where rows have unit length under METRIC_INNER_PRODUCT they
        approximate those. Raises what `sa_encode` raises.
        """
        matrix = as_codes(codes)
        rows = allocate(matrix.shape[0], self.d, np.float32)
        self._native.decode(matrix, rows)
        return rows

    def merge_from(self, other: Index, add_id: int = 0) -> None:
        """Moves the rows of another index behind this one's; the other is empty then.

        other   An index of the same training, such as one read from a file of this one.
        add_id  Added to every id that moves; where ids are positions, 0 or `ntotal`.

        Nothing is encoded anew. Raises InvalidArgumentError (another kind or training),
        FailedPreconditionError (not trained).
        """
        if not isinstance(other, Index):
            raise InvalidArgumentError(f"Other must be an arfc.Index: {type(other).__name__}")
        self._native.merge_from(other._native, as_count(add_id, "add_id", -(2**63), 2**63 - 1))

    def remove_ids(self, ids: Any) -> int:
        """Removes ids [n] and returns how many rows went; absent ones are ignored.

        Without ids of the caller's, later rows move up to fill the gaps. Raises UnsupportedError:
        this kind cannot.
        """
        return self._native.remove_ids(as_ids(ids, np.int64))

    def reset(self) -> None:
        """Drops every row; training stays."""
        self._native.reset()

    def __repr__(self) -> str:
        return (
            f"arfc.Index({self.factory!r}, d={self.d}, ntotal={self.ntotal},"
            f" is_trained={self.is_trained})"
        )


def index_factory(d: int, factory: str, metric: int = METRIC_L2) -> Index:
    """Makes an empty index.

    d        Embedding width, in [1, 65536].
    factory  docs/factory_strings.md, such as "ARFC96/16,IVF256" or "IDMap2,ARFC96/16"; every string
             of FAISS's goes.
    metric   METRIC_INNER_PRODUCT or METRIC_L2. Cosine is METRIC_INNER_PRODUCT over rows of unit
             length.

    Raises InvalidArgumentError (the string, the width or the metric), UnsupportedError (a part of
    the string).
    """
    if not isinstance(factory, str):
        raise InvalidArgumentError(f"Factory must be text: {factory!r}")
    width, kind = as_count(d, "d", 1, 65536), as_count(metric, "metric", 0)
    return Index._wrap(_arfc.create_index(width, factory, kind))


def reverse_index_factory(index: Index) -> str:
    """Tells the factory string that makes an index like this one, untrained and empty.

    It is canonical: sizes in bytes, defaults left out ("ARFCx16" of 384 floats becomes "ARFC96",
    "PQ8x8" becomes "PQ8"). ARFC strings and FAISS's alike.

    Raises InvalidArgumentError (no index), UnsupportedError (no string is known that makes it).
    """
    if not isinstance(index, Index):
        raise InvalidArgumentError(f"Index must be an arfc.Index: {type(index).__name__}")
    return index._native.reverse_factory()


def read_index(path: str | os.PathLike[str]) -> Index:
    """Opens a file that `write_index` or FAISS wrote.

    Raises NotFoundError, CorruptionError (truncated or altered), UnsupportedError (a newer format),
    StorageIoError.
    """
    return Index._wrap(_arfc.read_index(native_path(path)))


def write_index(index: Index, path: str | os.PathLike[str]) -> None:
    """Writes a self-contained file, model included; after a crash the old file or the new one is
    there.

    Raises StorageIoError, ResourceExhaustedError (the disk is full).
    """
    index._native.write(native_path(path))


def _parameters(
    params: Any,
) -> tuple[
    list[tuple[int, int]],
    int | None,
    int | None,
    NDArray[np.int64] | None,
    tuple[float | None, int | None] | None,
]:
    if params is None:
        return [], None, None, None, None
    if not isinstance(params, SearchParametersARFC):
        raise InvalidArgumentError(
            f"Search parameters must be SearchParametersARFC: {type(params).__name__}"
        )
    lists = None if params.nprobe is None else as_count(params.nprobe, "nprobe")
    beam = None if params.efSearch is None else as_count(params.efSearch, "efSearch")
    return (
        as_stages(params.stages),
        lists,
        beam,
        None if params.sel is None else as_ids(params.sel, np.int64),
        as_until(params.until, params.max_bytes),
    )
