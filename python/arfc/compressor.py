"""The model: embeddings to codes of which every prefix is itself a coarser code."""

from __future__ import annotations

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from arfc import _arfc, ready_models
from arfc._arrays import allocate, as_codes, as_count, as_matrix
from arfc.errors import InvalidArgumentError, UnsupportedError

Metric = Literal["cosine", "ip", "l2"]


@final
@dataclass(frozen=True)
class Progress:
    """How far a training has come."""

    stage: str
    """What is being done, such as "codebook"."""
    done: int
    """Steps finished."""
    total: int
    """Steps in all; 0 where unknown."""
    error: float | None
    """Mean squared reconstruction error over mean squared norm, in [0, 1]."""
    held_out_recall: float | None
    """recall@10 on rows that were not trained on, in [0, 1]."""
    seconds_left: float | None
    """Estimate, in seconds."""


ProgressFunction = Callable[[Progress], bool | None]
"""Is called between steps on the calling thread. Returning False cancels (`CancelledError`); an
exception ends the training and reaches the caller unchanged."""


@final
@dataclass(frozen=True)
class PairAccuracy:
    """How often held-out queries of pairs are answered with rows that belong with them.

    The ten nearest uncompressed rows vote for what they are connected with through pairs, or as
    many as belong with the query where those are fewer.
    """

    queries: int
    """Held out; 0: there were too few to spare any."""
    before: float
    """Share answered rightly with rows as they are, in [0, 1]."""
    after: float
    """The same, with rows mapped as the other pairs taught."""


@final
@dataclass(frozen=True)
class PairReport:
    """What became of `pairs`."""

    pairs: int
    """Pairs that took part."""
    is_kept: bool
    """Whether they gained, so that the model maps rows."""
    seen: PairAccuracy
    """Queries that are connected with pairs which trained."""
    unseen: PairAccuracy
    """Queries of kinds (whole components of the pairs' graph) that did not train."""


@final
@dataclass(frozen=True)
class PartReport:
    """What a part of the training does for codes, with the parts that were kept before it."""

    part: str
    """"codebooks", "landmarks", "landmarks of queries" or "relations"."""
    is_kept: bool
    """Whether held-out rows gained, mean over the lengths."""
    recall: dict[int, float]
    """Prefix length in bytes, ascending -> recall@10 of held-out rows (or queries, where they were
    given) among held-out rows and some that trained; empty where the part found nothing better to
    measure."""


@final
@dataclass(frozen=True)
class TrainReport:
    """What training did; stored with the model."""

    trained_rows: int
    """Rows that shaped the model."""
    held_out_rows: int
    """Rows set aside for measuring; 0 where there were too few to spare."""
    seconds: float
    """Wall time."""
    stopped_by_budget: bool
    recall: dict[int, float]
    """Prefix length in bytes -> recall@10 against exact neighbours, for rows not trained on, or
    queries where they were given."""
    residuals: dict[int, float]
    """Code length in bytes -> share of their squared length that codes leave of rows not trained
    on; empty where none were held out, and in models of earlier versions."""
    pairs: PairReport | None = None
    """What became of pairs; None where none were given."""
    parts: tuple[PartReport, ...] = ()
    """What was tried, in the order of training; empty where there was nothing to choose, and in
    models of earlier versions."""


@final
@dataclass(frozen=True)
class DriftPoint:
    """What codes of one length leave of rows, beside what they left of held-out ones."""

    residual: float
    """Share of the rows' squared length."""
    held_out_residual: float
    ratio: float
    """residual / held_out_residual; 1: the model knows the rows as well as those."""
    threshold: float
    """Above it the ratio is neither chance nor the difference between samples of one kind."""


@final
@dataclass(frozen=True)
class Drift:
    """How well a model knows rows, measured by what it knows of rows like those it learned from."""

    rows: int
    """Rows measured."""
    is_beyond_threshold: bool
    """Whether the rows are unlike those of the training: a ratio is above its threshold."""
    points: dict[int, DriftPoint]
    """Code length in bytes, ascending -> what codes of that length leave."""


def native_progress(progress: ProgressFunction | None) -> Callable[..., bool] | None:
    """Wraps a user's callback in the form that the native module calls."""
    if progress is None:
        return None
    return lambda *values: progress(Progress(*values)) is not False


def _as_queries(queries: Any) -> NDArray[np.float32]:
    """Returns queries as a float32 matrix; the native module takes one without rows as none."""
    matrix = as_matrix(queries, "Queries")
    if not matrix.size:
        raise InvalidArgumentError(f"Queries must be rows, at least 100: shape {matrix.shape}")
    return matrix


def _as_pairs(pairs: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns pairs as two float32 matrices of as many rows, at least one."""
    if not isinstance(pairs, tuple | list) or len(pairs) != 2:
        raise InvalidArgumentError(
            f"Pairs must be (queries, relevant rows), two matrices: {type(pairs).__name__}"
            + (f" of {len(pairs)}" if isinstance(pairs, tuple | list) else "")
        )
    queries = as_matrix(pairs[0], "Queries of pairs")
    relevant = as_matrix(pairs[1], "Relevant rows of pairs")
    if len(queries) != len(relevant) or not len(queries):
        raise InvalidArgumentError(
            "Pairs must be as many queries as relevant rows, at least one:"
            f" {len(queries)} queries, {len(relevant)} relevant rows"
        )
    return queries, relevant


def _as_schedule(schedule: Any) -> tuple[float, float, float]:
    """Returns a schedule of prefixes as three floats."""
    try:
        first_mean, last_mean, concentration = (float(value) for value in schedule)
    except (TypeError, ValueError):
        raise InvalidArgumentError(
            f"Schedule of prefixes is not (first mean, last mean, concentration): {schedule!r}"
        ) from None
    return first_mean, last_mean, concentration


def native_path(path: str | os.PathLike[str]) -> str:
    """Returns a path as text."""
    try:
        return os.fsdecode(path)
    except TypeError:
        raise InvalidArgumentError(f"Path must be text or a path object: {path!r}") from None


@contextlib.contextmanager
def model_directory(model: Compressor | str | os.PathLike[str] | None) -> Iterator[str]:
    """Gives the directory of a model, for as long as the context lasts; "" where there is none."""
    if not isinstance(model, Compressor):
        yield "" if model is None else native_path(model)
        return
    with tempfile.TemporaryDirectory(prefix="arfc-model-") as folder:
        copy = str(pathlib.Path(folder, "model"))
        model._native.save(copy)
        yield copy


def native_seconds(value: float | None) -> float | None:
    """Returns a time budget in seconds, positive and finite, or None."""
    if value is None:
        return None
    if not isinstance(value, int | float | np.number) or not 0 < float(value) < float("inf"):
        raise InvalidArgumentError(f"Time budget must be a positive number of seconds: {value!r}")
    return float(value)


@final
class Compressor:
    """Turns embeddings into token sequences of which every prefix is itself a coarser code.

    A row of `dim` floats becomes `code_bytes` one-byte tokens: `encode(x, b)` equals `encode(x)[:,
    :b]`, byte for byte, in every batch and thread count. A compressor is complete and immutable and
    may be used from many threads; long calls release the interpreter's lock.

    Get one from `Compressor.train`, `Compressor.load` or `Compressor.ready`.
    """

    __slots__ = ("_checkpoint", "_native")

    def __init__(self) -> None:
        raise UnsupportedError(
            "Compressor has no constructor: use Compressor.train, Compressor.load or"
            " Compressor.ready"
        )

    @classmethod
    def _wrap(cls, native: _arfc.Compressor, checkpoint: str = "") -> Compressor:
        self = object.__new__(cls)
        self._native = native
        self._checkpoint = checkpoint
        return self

    @classmethod
    def train(
        cls,
        x: Any,
        code_bytes: int = 96,
        metric: Metric = "cosine",
        *,
        queries: Any = None,
        pairs: Any = None,
        time_budget_s: float | None = None,
        seed: int = 0,
        relations: bool = True,
        prefix_schedule: tuple[float, float, float] = (0.75, 0.25, 4.0),
        features: bool = False,
        compact: bool = False,
        device: str = "auto",
        progress: ProgressFunction | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        checkpoint_every_s: float = 60.0,
        resume: bool = False,
    ) -> Compressor:
        """Learns a model from rows.

        x              [n, dim] float32 (float64 and float16 are converted), finite, n >= 1, dim in
                       [1, 65536]. Under "cosine" rows are L2-normalised first and must not be zero.
                       Rows may be larger than memory: `np.load("rows.npy", mmap_mode="r")` of
                       float32 in C order is read where it lies, once to check it, and of more than
                       a million rows a million, drawn at random, are copied.
        code_bytes     Longest code, in bytes, in [1, 1024]. The default is 16x on 384 floats.
        metric         What scores approximate: "cosine", "ip" (inner product) or "l2".
        queries        [m, dim], m >= 100, finite, not zero under "cosine": rows of the kind that
                       collections will be asked with, where that is another kind than they hold:
                       questions beside answers, captions beside pictures. Nothing needs to be known
                       of which rows answer them. Codes then keep the order of rows for them, too,
                       and a fifth of them, at most 1,000, measures. They serve relations alone. Of
                       more than 65,536 so many are drawn. dim <= 4096.
        pairs          (queries, relevant rows), both [p, dim], finite, not zero under "cosine": row
                       i of both belong together by the user's own task, such as a question and its
                       answer or two rows of one class. Where pairs that are held out show a gain,
                       scores follow the task instead of the embeddings, by a small network that
                       moves rows and queries and is part of the model; `report.pairs` tells what
                       was gained. Else they change nothing. Of more than 65,536 so many are drawn.
                       dim <= 4096.
        time_budget_s  Wall seconds; best effort within it. None: until converged.
        seed           Same rows, options and seed: same model, unless the budget cut it short.
        relations      Fine-tune codebooks on the graph of neighbours: better recall of short codes
                       for longer training.
        prefix_schedule
                       At which prefixes relations are compared while they are learned: lengths, as
                       shares of the longest, are drawn from a Beta distribution of this mean at
                       first, this one at last, both in (0, 1), and this concentration (a + b) > 0.
        features       Learn float features, too: see `features`. Off, because they take about as
                       long as all the rest; dim is at most 4,096 then.
        compact        A smaller model: 16 tokens over the whole space however many the rows are,
                       and weights rounded to float16, which files keep as that.
        device         "cpu", "cuda:<n>", or "auto": the first visible GPU that the model uses, else
                       the CPU.
        progress       Called between steps with a `Progress`; see `ProgressFunction`. Ctrl-C works
                       with or without.
        checkpoint     Directory that keeps what was learned so far; ending early, Ctrl-C included,
                       leaves one there, too. `save` of the model removes it. None: none is kept.
        checkpoint_every_s
                       Seconds between two of them, at least 0.
        resume         Go on from the checkpoint, with the rows and options that it was made with
                       (device, time budget, threads and, until relations begin, `prefix_schedule`
                       aside). Without a budget, on as many
                       threads, the model has the `id` that no interruption would have given it; a
                       budget counts the seconds spent before.

        Raises InvalidArgumentError (a shape, an option or a value is out of range),
        UnsupportedError (`queries`, `pairs` or `features` of wider rows; the device is not visible;
        the checkpoint is of another build), CancelledError (`progress` returned False),
        ResourceExhaustedError, KeyboardInterrupt, StorageIoError (the checkpoint cannot be
        written), and on resuming NotFoundError (no checkpoint), FailedPreconditionError (it is of
        other rows or options), CorruptionError.
        """
        directory = "" if checkpoint is None else native_path(checkpoint)
        if not isinstance(checkpoint_every_s, int | float | np.number):
            raise InvalidArgumentError(
                f"Time between checkpoints is not a number of seconds: {checkpoint_every_s!r}"
            )
        matrix = as_matrix(x)
        asking = None if queries is None else _as_queries(queries)
        of_pairs, relevant = (None, None) if pairs is None else _as_pairs(pairs)
        native = _arfc.train_compressor(
            matrix,
            as_count(code_bytes, "code_bytes"),
            metric,
            native_seconds(time_budget_s),
            as_count(seed, "seed", 0, 2**64 - 1),
            bool(relations),
            bool(features),
            device,
            native_progress(progress),
            directory,
            float(checkpoint_every_s),
            bool(resume),
            bool(compact),
            asking,
            of_pairs,
            relevant,
            _as_schedule(prefix_schedule),
        )
        return cls._wrap(native, directory)

    @classmethod
    def load(cls, directory: str | os.PathLike[str], device: str = "auto") -> Compressor:
        """Opens a model directory written by `save` or `arfc train`.

        Raises NotFoundError (no such directory), CorruptionError (a checksum or shape differs),
        UnsupportedError (a newer format, an unknown kind, or the device is not visible).
        """
        return cls._wrap(_arfc.open_compressor(native_path(directory), device))

    @classmethod
    def ready(cls, name: str, device: str = "auto") -> Compressor:
        """Opens a model that comes with the package, for embeddings of the model of that name.

        Collections that are too small to train on need no training with it.
        `arfc.ready_models.names()` lists the names; a README.md beside each says what it was
        trained on and how well it does.

        Raises NotFoundError (no model of that name comes with the package), and what `load` does.
        """
        return cls.load(ready_models.directory(name), device)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Writes the model directory; an existing model there is replaced. The checkpoint of this
        object's training, if there is one, is removed.

        Raises StorageIoError, ResourceExhaustedError (the disk is full).
        """
        self._native.save(native_path(directory))
        if self._checkpoint:
            _arfc.remove_checkpoint(self._checkpoint)
            self._checkpoint = ""

    @property
    def dim(self) -> int:
        """Embedding width, in floats."""
        return self._native.dim

    @property
    def code_bytes(self) -> int:
        """Longest code, in bytes (= tokens)."""
        return self._native.code_bytes

    @property
    def metric(self) -> Metric:
        """What scores approximate: "cosine", "ip" or "l2"."""
        return self._native.metric  # type: ignore[return-value]

    @property
    def id(self) -> str:
        """The model's identity, a function of what encodes, scores and makes features: 64
        hexadecimal digits.
        """
        return self._native.id

    @property
    def model_bytes(self) -> int:
        """Size of the weights, in bytes: what one resident model costs, whatever the row count."""
        return self._native.model_bytes

    @property
    def has_features(self) -> bool:
        """Whether `features` answers: the model was trained with features=True."""
        return self._native.has_features

    @property
    def report(self) -> TrainReport:
        """What training did."""
        *values, parts, pairs = self._native.report
        made = tuple(PartReport(*part) for part in parts)
        if pairs is None:
            return TrainReport(*values, None, made)
        count, is_kept, seen, unseen = pairs
        learned = PairReport(count, is_kept, PairAccuracy(*seen), PairAccuracy(*unseen))
        return TrainReport(*values, learned, made)

    def encode(self, x: Any, num_bytes: int | None = None) -> NDArray[np.uint8]:
        """Encodes rows, keeping the first `num_bytes` tokens of each.

        x          [n, dim] float32, finite, any scale; n may be 0.
        num_bytes  In [1, code_bytes]; None: code_bytes.

        Returns [n, num_bytes] uint8. Raises InvalidArgumentError (a shape, `num_bytes` or a value
        is out of range, or a row is zero under "cosine"), ResourceExhaustedError.
        """
        matrix = as_matrix(x, dim=self.dim)
        count = (
            self.code_bytes
            if num_bytes is None
            else as_count(num_bytes, "num_bytes", 1, self.code_bytes)
        )
        codes = allocate(matrix.shape[0], count, np.uint8)
        self._native.encode(matrix, codes)
        return codes

    def drift(self, x: Any) -> Drift:
        """Tells how well the model knows rows: what codes of a few lengths leave of them, beside
        what they left of the rows held out in training.

        x  [n, dim] float32, finite, n >= 1; some thousand rows, drawn at random, tell as much as
           all.

        Raises InvalidArgumentError (a shape or a value), FailedPreconditionError (the report has
        no residuals: training held nothing out, or an earlier version trained).
        """
        rows, beyond, points = self._native.drift(as_matrix(x, dim=self.dim))
        return Drift(rows, beyond, {point[0]: DriftPoint(*point[1:]) for point in points})

    def decode(self, codes: Any) -> NDArray[np.float32]:
        """Reconstructs rows from codes or prefixes of them.

        codes  [n, b] uint8, b in [1, code_bytes].

        Returns [n, dim] float32; under "cosine" they approximate the L2-normalised originals.
        Raises InvalidArgumentError (a shape is out of range).
        """
        matrix = self._checked_codes(codes)
        rows = allocate(matrix.shape[0], self.dim, np.float32)
        self._native.decode(matrix, rows)
        return rows

    def score(self, queries: Any, codes: Any, neural: bool = False) -> NDArray[np.float32]:
        """Scores every code against every uncompressed query, as search does.

        queries  [m, dim] float32, finite; not zero under "cosine".
        codes    [n, b] uint8, b in [1, code_bytes].
        neural   Score by the rows that the decoder makes of codes, as `decode` gives them, instead
                 of by tables: 2 * dim operations a query and row. A decoder that is linear, as all
                 are so far, says what tables say, but for rounding.

        Returns [m, n] float32, larger = closer: cosine, inner product, or minus the squared
        distance.
        Raises InvalidArgumentError (a shape or a value).
        """
        left = as_matrix(queries, "Queries", dim=self.dim)
        right = self._checked_codes(codes)
        scores = allocate(left.shape[0], right.shape[0], np.float32)
        self._native.score(left, right, bool(neural), scores)
        return scores

    def features(self, x: Any, dims: int | None = None) -> NDArray[np.float32]:
        """Computes compressed features of rows as floats, for classifiers and clusterings that
        learn from them.

        x     [n, dim] float32, finite, any scale; n may be 0.
        dims  How many numbers of each row's feature, in [1, dim]; None: dim. A quarter of dim
              removes 75 % of the bytes.

        The most telling numbers come first: `features(x, a)` equals `features(x, b)[:, :a]`, bit
        for bit, in every batch and thread count. They need no codes, and may be compared as rows
        are, by `metric`.

        Returns [n, dims] float32, in the units of the rows (L2-normalised ones under "cosine").
        Raises FailedPreconditionError (the model was trained without features=True),
        InvalidArgumentError (a shape, `dims` or a value is out of range, or a row is zero under
        "cosine"), ResourceExhaustedError.
        """
        matrix = as_matrix(x, dim=self.dim)
        count = self.dim if dims is None else as_count(dims, "dims", 1, self.dim)
        out = allocate(matrix.shape[0], count, np.float32)
        self._native.features(matrix, out)
        return out

    def _checked_codes(self, codes: Any) -> NDArray[np.uint8]:
        matrix = as_codes(codes)
        if not 1 <= matrix.shape[1] <= self.code_bytes:
            raise InvalidArgumentError(
                f"Code length is out of range: {matrix.shape[1]} bytes,"
                f" expected [1, {self.code_bytes}], shape {matrix.shape}"
            )
        return matrix

    def __repr__(self) -> str:
        return (
            f"arfc.Compressor(dim={self.dim}, code_bytes={self.code_bytes},"
            f" metric={self.metric!r}, id={self.id[:12]!r})"
        )
