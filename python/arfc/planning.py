"""How rows should be kept and searched to reach a recall, measured on a sample of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from arfc import _arfc
from arfc._arrays import as_count, as_matrix
from arfc.compressor import Compressor, ProgressFunction, native_progress
from arfc.errors import InvalidArgumentError


@final
@dataclass(frozen=True)
class PlannedPoint:
    """One way to keep and search rows. Recall is recall@k, in [0, 1]."""

    factory: str
    """Such as "ARFC24/8,IVF128"."""
    stages: list[dict[str, int]]
    """What `search` takes as `stages`."""
    nprobe: int | None
    """What `search` takes as `nprobe`; None where there are no lists."""
    ef_search: int | None
    """The same for a graph."""
    predicted_recall: float
    """At `Plan.rows`, from the queries that the plan chose by."""
    recall_interval: tuple[float, float]
    """95 % interval of it: chance among the queries, and the doubt in carrying it to more rows than
    were measured."""
    measured_recall: float
    """Over the sample, of queries that took no part in choosing."""
    resident_bytes_per_row: float
    """Heads, row terms, lists or links, and ids."""
    disk_bytes_per_row: float
    """Codes and ids in a collection's store, once compacted."""
    milliseconds: float
    """Median of one query at a time on this machine, tails in memory; scaled by the rows scanned
    where the plan is for more rows than the sample has."""

    @property
    def bytes_per_row(self) -> float:
        """Resident and on disk."""
        return self.resident_bytes_per_row + self.disk_bytes_per_row


@final
@dataclass(frozen=True)
class Plan:
    """A way to search that reaches a recall with few bytes, and what other lengths would give."""

    chosen: PlannedPoint
    """The shortest code that reaches the target, searched in the fastest way that still does; where
    none does within the budget, the best of those that keep it."""
    reaches_target: bool
    """Whether `chosen.predicted_recall` does."""
    curve: list[PlannedPoint]
    """One a code length, ascending, each searched with hardly any loss; budget and target play no
    part."""
    reference: Literal["originals", "longest prefix"]
    """What recall is measured against: exact neighbours of uncompressed rows, or what whole codes
    find."""
    rows: int
    """That were planned for."""
    sample_rows: int
    """That were searched."""
    queries: int
    """That the plan chose by."""
    test_queries: int
    """That took no part and gave `measured_recall`."""
    model_bytes: int
    """Of the model, once for all rows; in no point's bytes."""


def native_options(
    target_recall: Any, k: Any, max_bytes_per_row: Any, ntotal: Any, seed: Any
) -> tuple[float, int, float | None, int | None, int]:
    """Returns a plan's options as the native module takes them."""
    for name, value in (
        ("Target recall", target_recall),
        ("Budget in bytes a row", 1 if max_bytes_per_row is None else max_bytes_per_row),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise InvalidArgumentError(f"{name} is not a number: {value!r}")
    return (
        float(target_recall),
        as_count(k, "k"),
        None if max_bytes_per_row is None else float(max_bytes_per_row),
        None if ntotal is None else as_count(ntotal, "ntotal", 1, 2**63 - 1),
        as_count(seed, "seed", 0, 2**64 - 1),
    )


def as_plan(values: tuple[Any, ...]) -> Plan:
    """Returns a plan of the native module's fields."""
    chosen, reaches_target, curve, *others = values
    return Plan(_as_point(chosen), reaches_target, [_as_point(point) for point in curve], *others)


def _as_point(values: tuple[Any, ...]) -> PlannedPoint:
    factory, stages, *others = values
    return PlannedPoint(
        factory, [{"bytes": length, "limit": limit} for length, limit in stages], *others
    )


def plan(
    x: Any,
    model: Compressor,
    *,
    target_recall: float = 0.9,
    k: int = 10,
    max_bytes_per_row: float | None = None,
    ntotal: int | None = None,
    seed: int = 0,
    progress: ProgressFunction | None = None,
) -> Plan:
    """Measures on a sample how rows should be kept and searched to reach a recall.

    Rows of the sample ask for their neighbours among the others, by every length of their code and
    through the index itself; three quarters of up to 4,000 choose, the others only measure.

    x                  [n, dim] float32, as `Compressor.encode` takes them: 400 rows and ten for
                       each answer, or more; of more than 50,000 so many are drawn. Rows that
                       trained the model look better than others.
    model              What encodes the rows.
    target_recall      recall@k that searches are to reach, in (0, 1].
    k                  Answers per query, >= 1.
    max_bytes_per_row  Budget, resident and on disk, ids included. None: none, and no graph, whose
                       links take more than most codes.
    ntotal             Rows to plan for. None: that of x. Where it is larger, recall is carried to
                       it by how it falls over a quarter, half and all of the sample.
    seed               Same rows, options and seed: same recall.
    progress           As of `Compressor.train`.

    Raises InvalidArgumentError (too few rows, a shape, a value or an option; a budget below what
    the shortest code takes), CancelledError, KeyboardInterrupt.
    """
    if not isinstance(model, Compressor):
        raise InvalidArgumentError(f"Model must be a Compressor: {type(model).__name__}")
    target, answers, budget, size, number = native_options(
        target_recall, k, max_bytes_per_row, ntotal, seed
    )
    return as_plan(
        _arfc.plan(
            model._native,
            as_matrix(x),
            target,
            answers,
            budget,
            size,
            number,
            native_progress(progress),
        )
    )
