"""What one way of storing the rows costs and gives, measured; and which length to recommend."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence

import arfc
import numpy as np
from arfc import evaluate
from data import Data
from numpy.typing import NDArray

K = 10
CURVE_BYTES = (4, 6, 8, 12, 16, 24, 32, 40, 48, 64, 80, 96)
CURVE_QUERIES = 2000
NDCG_MARGIN = 0.010  # of uncompressed nDCG@10 that the recommended length may lose
RECALL_MARGIN = 0.05  # of the true ten that it may miss, where nobody knows the right answers


@dataclasses.dataclass(frozen=True)
class Quality:
    """How good answers are; means over queries, in [0, 1]."""

    recall_at_10: float  # against exact search of the uncompressed rows
    ndcg_at_10: float | None  # of the one right answer; None where nobody knows it
    right_at_1: float | None


@dataclasses.dataclass(frozen=True)
class Way:
    """One line of the table: a way of storing and searching the rows."""

    name: str
    code_bytes: float  # per row, as are the next four
    id_bytes: float
    norm_bytes: float
    list_bytes: float  # centroids, row numbers, and prefixes of rows that are in several lists
    model_share_bytes: float
    memory_bytes: int  # resident: codes, ids, norms, lists and model
    disk_bytes: int
    quality: Quality
    p50_ms: float  # of one query over REST, on the loopback


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """Exhaustive search by one prefix length."""

    bytes: int
    quality: Quality


def judge(
    found: NDArray[np.int64], truth: NDArray[np.int64], answers: Sequence[int] | None
) -> Quality:
    """Returns the quality of answers.

    found, truth  [m, 10] row numbers, best first; -1: no answer.
    answers       [m] the right row, or None.
    """
    recall = evaluate.recall_at_k(found, truth, K)
    if answers is None:
        return Quality(recall, None, None)
    return Quality(
        recall,
        evaluate.ndcg(found, list(answers), K),
        float(np.mean(found[:, 0] == np.asarray(answers))),
    )


def ask_all(
    ask: Callable[[NDArray[np.float32]], list[int]], queries: NDArray[np.float32], report
) -> tuple:
    """Asks every query by itself; returns ([m, 10] ids, -1: fewer, and the median milliseconds)."""
    found = np.full((len(queries), K), -1, np.int64)
    milliseconds = np.empty(len(queries))
    for i, query in enumerate(queries):
        if i % 50 == 0:
            report(i, len(queries))
        started = time.perf_counter()
        ids = ask(query)
        milliseconds[i] = (time.perf_counter() - started) * 1000
        found[i, : len(ids)] = ids
    report(len(queries), len(queries))
    return found, float(np.median(milliseconds))


def curve(model: arfc.Compressor, data: Data, truth: NDArray[np.int64], report) -> list[CurvePoint]:
    """Measures exhaustive search of the rows' codes at every length that the model has."""
    codes = model.encode(data.rows)
    count = min(CURVE_QUERIES, len(data.queries))
    lengths = [length for length in CURVE_BYTES if length <= model.code_bytes]
    answers = None if data.answers is None else data.answers[:count]
    points = []
    for done, length in enumerate(lengths):
        report(done, len(lengths))
        prefix = np.ascontiguousarray(codes[:, :length])
        found = np.concatenate(
            [
                _top(model.score(data.queries[i : min(i + 100, count)], prefix))
                for i in range(0, count, 100)
            ]
        )
        points.append(CurvePoint(length, judge(found, truth[:count], answers)))
    report(len(lengths), len(lengths))
    return points


def recommend(points: Sequence[CurvePoint], exact: Quality, dim: int) -> str:
    """Returns, in words, the shortest length whose loss stays within the stated margin, and why."""
    if exact.ndcg_at_10 is not None:
        what, margin, target = "nDCG@10", NDCG_MARGIN, exact.ndcg_at_10
        values = [point.quality.ndcg_at_10 or 0.0 for point in points]
    else:
        what, margin, target = "recall@10", RECALL_MARGIN, 1.0
        values = [point.quality.recall_at_10 for point in points]
    # From the long end: a length that is good by luck, with a worse one behind it, is not taken.
    chosen = len(points)
    while chosen > 0 and target - values[chosen - 1] <= margin:
        chosen -= 1
    longest = points[-1]
    if chosen == len(points):
        return (
            f"{longest.bytes} bytes a row, the longest measured, beside the float32 rows: {what} is"
            f" {values[-1]:.3f} against {target:.3f} uncompressed, more than the margin of"
            f" {margin:.3f} away."
        )
    point = points[chosen]
    words = (
        f"{point.bytes} bytes a row ({4 * dim / point.bytes:.0f}x smaller than float32): {what} is"
        f" {values[chosen]:.3f} against {target:.3f} uncompressed, within the margin of"
        f" {margin:.3f}"
    )
    if chosen:
        words += f"; {points[chosen - 1].bytes} bytes would lose {target - values[chosen - 1]:.3f}"
    if what == "nDCG@10" and point is not longest:
        words += (
            f". {point.quality.recall_at_10:.0%} of the ten exact neighbours are the same; where"
            f" they must be, take {longest.bytes} bytes ({longest.quality.recall_at_10:.0%})"
        )
    return words + "."


def _top(scores: NDArray[np.float32]) -> NDArray[np.int64]:
    order = np.argpartition(-scores, K - 1, axis=1)[:, :K]
    return np.take_along_axis(order, np.argsort(-np.take_along_axis(scores, order, 1), axis=1), 1)
