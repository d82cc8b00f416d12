"""Points with embeddings and payloads, kept as codes in a directory."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from arfc import _arfc
from arfc._arrays import as_count, as_ids, as_matrix, as_stages, as_until
from arfc.compressor import (
    Compressor,
    Metric,
    ProgressFunction,
    model_directory,
    native_path,
    native_progress,
    native_seconds,
)
from arfc.errors import FailedPreconditionError, InvalidArgumentError, UnsupportedError
from arfc.planning import Plan, as_plan, native_options

Payload = dict[str, Any]


@final
@dataclass(frozen=True)
class Hit:
    """One answer of a search."""

    id: int
    score: float
    """Larger = closer: cosine, inner product, or minus the squared distance."""
    payload: Payload | None
    """None where none was stored or asked for."""


@final
@dataclass(frozen=True)
class StageUsage:
    """What one stage of a search cost, over all queries of the call."""

    bytes: int
    """Prefix length that the stage scored by."""
    candidates: int
    """Rows scored."""
    bytes_read: int
    """Code bytes read."""
    milliseconds: float
    """Wall time."""


@final
@dataclass(frozen=True)
class SearchAnswer(Sequence[list[Hit]]):
    """The answers to a batch of queries; `answer[i]` lists query i's hits, best first."""

    ids: list[NDArray[np.uint64]]
    """Per query, [hits] ids."""
    scores: list[NDArray[np.float32]]
    """Per query, [hits] scores."""
    payloads: list[list[str]] | None
    """Per query, each hit's payload as JSON text, "" where it has none; None: not asked for."""
    stages: list[StageUsage]
    certainty: list[str] | None = None
    """Per query, with `until`: "none", "confident", "codes" (proved to be the answer of scoring
    every row by its longest stored prefix) or "originals" (proved to be the nearest by the vectors
    that were encoded, too); None: not asked for."""

    @property
    def certain(self) -> list[bool] | None:
        """Per query, whether the answer is proved, by whichever reference; None: not asked for."""
        if self.certainty is None:
            return None
        return [certainty in ("codes", "originals") for certainty in self.certainty]

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, query: Any) -> Any:
        if isinstance(query, slice):
            return [self[i] for i in range(*query.indices(len(self)))]
        texts = [""] * len(self.ids[query]) if self.payloads is None else self.payloads[query]
        return [
            Hit(int(identity), float(score), json.loads(text) if text else None)
            for identity, score, text in zip(
                self.ids[query], self.scores[query], texts, strict=True
            )
        ]

    def __iter__(self) -> Iterator[list[Hit]]:
        return (self[i] for i in range(len(self)))


@final
@dataclass(frozen=True)
class Point:
    """A stored point."""

    id: int
    payload: Payload | None
    vector: NDArray[np.float32] | None
    """[dim] reconstruction, or the raw row where the collection keeps it; None: not asked for."""


@final
@dataclass(frozen=True)
class CollectionTrainReport:
    """What training a collection did."""

    model_id: str
    rows: int
    """Rows encoded."""
    seconds: float
    held_out_recall: float | None
    """recall@10 at the longest prefix; None where no rows could be held out."""
    raw_dropped: bool


@final
@dataclass(frozen=True)
class CollectionInfo:
    """What a collection is and how large; sizes are in bytes."""

    dim: int
    metric: str
    factory: str
    model_id: str
    """Empty: rows are float32 and are searched exactly."""
    points: int
    tombstones: int
    """Dead rows not yet compacted away."""
    code_bytes: int
    """Per row, longest prefix; 0 without a model."""
    stage_bytes: list[int]
    """Ascending prefix lengths; empty without a model."""
    nlist: int
    """IVF lists; 0: exhaustive."""
    default_nprobe: int
    resident_bytes: int
    """Codes, ids, norms, lists and the calibration sample held in memory, the model excluded."""
    resident_head_bytes: int
    resident_id_bytes: int
    resident_norm_bytes: int
    resident_radius_bytes: int
    """Error radii ("_R" in the factory string), for proofs."""
    model_bytes: int
    disk_bytes: int
    calibration_rows: int
    """Kept uncompressed beside the codes."""
    calibration_bytes: int
    """Of them, in memory and once more in a file."""
    has_raw: bool


@final
class Collection:
    """A directory of points, searchable at every prefix length of their codes.

    One process writes a directory at a time; others may open it read-only. All methods are
    thread-safe, release the interpreter's lock while they work, and leave the collection as it was
    where they raise. Closing twice is allowed; `with` closes.
    """

    __slots__ = ("_directory", "_open")

    def __init__(self) -> None:
        raise UnsupportedError(
            "Collection has no constructor: use Collection.create or Collection.open"
        )

    @classmethod
    def _wrap(cls, native: _arfc.Collection, directory: str) -> Collection:
        self = object.__new__(cls)
        self._open = native
        self._directory = directory
        return self

    @classmethod
    def create(
        cls,
        directory: str | os.PathLike[str],
        dim: int,
        metric: Metric = "cosine",
        factory: str = "ARFC96/16",
        model: Compressor | str | os.PathLike[str] | None = None,
        *,
        calibration: bool = True,
    ) -> Collection:
        """Creates the directory, whose parent must exist, and opens it for writing.

        dim      Embedding width, in [1, 65536].
        metric   "cosine", "ip" or "l2".
        factory  docs/factory_strings.md, such as "ARFC96/16,IVF256".
        model    A compressor or a model directory, copied in; None: rows stay float32 until
                 `train`.
        calibration
                 Keep up to 2,000 rows uncompressed, as float16, once codes replace the others: what
                 `plan` measures recall on. `drop_calibration` forgets them.

        Raises AlreadyExistsError (the directory holds something), InvalidArgumentError (an option;
        the model's width or metric differs), NotFoundError (no such model), UnsupportedError (a
        factory part), StorageIoError.
        """
        width = as_count(dim, "dim", 1, 65536)
        path = native_path(directory)
        with model_directory(model) as origin:
            return cls._wrap(
                _arfc.create_collection(path, width, metric, factory, origin, bool(calibration)),
                path,
            )

    @classmethod
    def open(
        cls, directory: str | os.PathLike[str], read_only: bool = False, device: str = "auto"
    ) -> Collection:
        """Opens an existing collection.

        read_only  Beside another process that writes; sees its state as of opening.
        device     "cpu", "cuda:<n>" or "auto".

        Raises NotFoundError (no collection there), FailedPreconditionError (another process writes
        it; its model is not the one that wrote the codes), UnsupportedError (a newer format),
        CorruptionError, StorageIoError.
        """
        path = native_path(directory)
        return cls._wrap(_arfc.open_collection(path, bool(read_only), device), path)

    @property
    def _native(self) -> _arfc.Collection:
        if self._open is None:
            raise FailedPreconditionError(f"Collection is closed: {self._directory}")
        return self._open

    def train(
        self,
        *,
        time_budget_s: float | None = None,
        seed: int = 0,
        keep_raw: bool = False,
        minimum_recall: float = 0.90,
        device: str = "auto",
        progress: ProgressFunction | None = None,
    ) -> CollectionTrainReport:
        """Learns a model from the stored rows, encodes them, and drops the float32 rows.

        keep_raw        Keep float32 rows beside the codes.
        minimum_recall  Held-out recall@10 at full length, in [0, 1], below which raw rows are kept
                        all the same.
        The other options are those of `Compressor.train`.

        Raises FailedPreconditionError (there is a model already, or there are no rows),
        CancelledError, KeyboardInterrupt; the collection is then untrained and complete, as before.
        """
        values = self._native.train(
            native_seconds(time_budget_s),
            as_count(seed, "seed", 0, 2**64 - 1),
            bool(keep_raw),
            float(minimum_recall),
            device,
            native_progress(progress),
        )
        return CollectionTrainReport(*values)

    def upsert(
        self,
        ids: Any,
        x: Any,
        payloads: Sequence[Mapping[str, Any] | str | None] | None = None,
        wait: bool = True,
    ) -> None:
        """Inserts or replaces points; one bad row refuses the whole call.

        ids       [n] integers in [0, 2**64); where one repeats, its last row wins.
        x         [n, dim] float32, finite; not zero under "cosine".
        payloads  [n] dictionaries, JSON objects as text, or None for none; None: no point has one.
        wait      Return when the points are durable; False: when they are visible.

        Raises InvalidArgumentError, ResourceExhaustedError, StorageIoError, FailedPreconditionError
        (read-only or closed).
        """
        matrix = as_matrix(x)
        names = as_ids(ids, np.uint64, matrix.shape[0])
        self._native.upsert(names, matrix, _payload_texts(payloads, matrix.shape[0]), bool(wait))

    def optimize(self, *, progress: ProgressFunction | None = None) -> bool:
        """Learns lists and search defaults anew where the rows have grown by a tenth since then.

        A collection does so by itself each time its rows have doubled; call it at the end of a
        load. Searches go on meanwhile. Returns whether there was anything to learn.

        Raises FailedPreconditionError (read-only or closed), CancelledError, KeyboardInterrupt.
        """
        return self._native.optimize(native_progress(progress))

    def delete(self, ids: Any, wait: bool = True) -> int:
        """Deletes points and returns how many of them existed.

        ids  [n] integers in [0, 2**64); absent ones are ignored.

        Raises InvalidArgumentError, StorageIoError, FailedPreconditionError (read-only or closed).
        """
        return self._native.remove(as_ids(ids, np.uint64), bool(wait))

    def search(
        self,
        q: Any,
        k: int = 10,
        filter: Any = None,
        stages: Sequence[int | Mapping[str, int]] | None = None,
        nprobe: int | None = None,
        exact: bool = False,
        with_payload: bool = False,
        ef_search: int | None = None,
        until: str | Mapping[str, float] | None = None,
        max_bytes: int | None = None,
    ) -> SearchAnswer:
        """Finds the best points of each query.

        q             [m, dim] float32, finite; not zero under "cosine".
        k             Answers per query, >= 1.
        filter        Reserved; must be None.
        stages        Prefix lengths in bytes, ascending, or {"bytes": b, "limit": rows kept}; the
                      first must be the collection's shortest. None: those of the factory string.
        nprobe        IVF lists to scan, in [1, nlist]; None: the collection's default.
        exact         Scan every row and rank it by the longest prefix (or by its raw row).
        with_payload  Return payloads too.
        ef_search     Rows that a walk through a graph keeps in view, >= 1; None: 128.
                      Without effect where there is no graph.
        until         "certain": read on until each answer is proved to be that of scoring every row
                      by its longest prefix. {"confidence": p}: until it is so with probability p in
                      (0, 1), as calibrated on the collection's rows. None: stages with limits. It
                      decides what is scanned and kept, so it takes no stages, nprobe or exact.
        max_bytes     With `until`, code bytes that may be read for a query, >= 1; where they run
                      out the answer says so, and may hold fewer than k. None: no bound.

        Raises InvalidArgumentError, UnsupportedError (`filter`), CorruptionError, StorageIoError,
        FailedPreconditionError (a confidence before there is a calibration: call `optimize`).
        """
        if filter is not None:
            raise UnsupportedError("Filters are not offered by this version: pass filter=None")
        matrix = as_matrix(q, "Queries")
        lists = None if nprobe is None else as_count(nprobe, "nprobe")
        beam = None if ef_search is None else as_count(ef_search, "ef_search")
        ids, scores, payloads, usage, certainty = self._native.search(
            matrix,
            as_count(k, "k"),
            as_stages(stages),
            lists,
            beam,
            bool(exact),
            bool(with_payload),
            as_until(until, max_bytes),
        )
        stages_used = [StageUsage(*values) for values in usage]
        return SearchAnswer(ids, scores, payloads, stages_used, certainty)

    def get(self, ids: Any, with_vector: bool = False) -> list[Point]:
        """Reads points; absent ones are left out.

        ids          [n] integers in [0, 2**64).
        with_vector  Reconstruct the vector too, or copy the raw row.

        Raises InvalidArgumentError, CorruptionError, StorageIoError.
        """
        return [
            Point(identity, json.loads(text) if text else None, vector)
            for identity, text, vector in self._native.get(
                as_ids(ids, np.uint64), bool(with_vector)
            )
        ]

    def info(self) -> CollectionInfo:
        """Returns what the collection is and how large."""
        return CollectionInfo(**self._native.info())

    def plan(
        self,
        *,
        target_recall: float = 0.9,
        k: int = 10,
        max_bytes_per_row: float | None = None,
        ntotal: int | None = None,
        seed: int = 0,
        progress: ProgressFunction | None = None,
    ) -> Plan:
        """Measures how the points should be kept and searched to reach a recall, as `arfc.plan`.

        On float32 rows where they are kept, else on the calibration sample, both against exact
        neighbours; where there is neither, on codes alone, against what whole codes find
        (`Plan.reference`). No code longer than the collection's is considered.

        ntotal  Rows to plan for. None: the points that there are.
        The other options are those of `arfc.plan`.

        Raises as `arfc.plan`, and FailedPreconditionError (no model, too few points, or closed).
        """
        options = native_options(target_recall, k, max_bytes_per_row, ntotal, seed)
        return as_plan(self._native.plan(*options, native_progress(progress)))

    def drop_calibration(self) -> None:
        """Forgets the calibration sample, for good: it is data of the points.

        Codes and scores stay as they are. Raises FailedPreconditionError (read-only or closed),
        StorageIoError.
        """
        self._native.drop_calibration()

    def truncate(self, num_bytes: int) -> None:
        """Lowers the stored code length.

        Raises UnsupportedError: not offered by this version.
        """
        raise UnsupportedError(
            "Truncation is not offered by this version: search with shorter stages instead"
        )

    def snapshot(self, directory: str | os.PathLike[str]) -> None:
        """Copies the collection as it is now.

        Raises UnsupportedError: not offered by this version.
        """
        raise UnsupportedError(
            "Snapshots are not offered by this version: close the collection, copy its directory"
        )

    def close(self) -> None:
        """Makes everything durable and releases the directory."""
        native, self._open = self._open, None
        if native is not None:
            native.close()

    def __enter__(self) -> Collection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._open is None else "open"
        return f"arfc.Collection({self._directory!r}, {state})"


def _payload_texts(payloads: Any, rows: int) -> list[str]:
    if payloads is None:
        return []
    if isinstance(payloads, str | bytes | Mapping):
        raise InvalidArgumentError(
            f"Payloads must be a sequence, one a row: {type(payloads).__name__}"
        )
    texts = [_payload_text(payload, row) for row, payload in enumerate(payloads)]
    if len(texts) != rows:
        raise InvalidArgumentError(
            f"Payloads and rows differ in number: {len(texts)} payloads, {rows} rows"
        )
    return texts


def _payload_text(payload: Any, row: int) -> str:
    if payload is None:
        return ""
    if not isinstance(payload, str | Mapping):
        raise InvalidArgumentError(
            f"Payload must be a dictionary, JSON text or None: {type(payload).__name__}, row {row}"
        )
    try:
        text = payload if isinstance(payload, str) else _json_text(payload)
        text.encode("utf-8")
        return text
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(
            f"Payload cannot be written as JSON ({error}): row {row}"
        ) from error


def _json_text(payload: Mapping[str, Any]) -> str:
    return json.dumps(dict(payload), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
