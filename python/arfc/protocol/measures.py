"""What a compression is judged by on each kind of data set, item by item."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from arfc import evaluate
from arfc.baselines.baseline import Neighbourhood, nearest_others
from arfc.datasets import Classification, Features, ImageRetrieval, Judged, MultiLabel, TwoSided
from arfc.errors import InvalidArgumentError
from arfc.protocol.methods import Compressed
from arfc.protocol.probes import PROBES

Rows = NDArray[np.float32]
Outcomes = dict[str, NDArray[np.float64]]

_DEPTHS = (1, 5, 10)
_MOST_OWN_ROWS = 2_000  # neighbours among them are found exhaustively, for every cell


def outcomes(
    data: Features, compressed: Compressed, probe: str = "logistic", seed: int = 0
) -> Outcomes:
    """Measures a compression on a data set.

    data        As `arfc.datasets.load` returns it.
    compressed  Fitted to `data.train`, or to a part of it.
    probe       A key of `PROBES`; for labels only.
    seed        Of the rows that choose the probe's regularisation.

    Returns measure -> [items] float64, larger = better; a measure's value is the mean of its items
    that are not NaN. The first is the kind's own: "accuracy" (items: test rows), "mAP" (classes),
    "recall@1" (test rows, or each side's), "nDCG@10" (queries). "neighbours@10" and "explained" (up
    to 2,000 test rows) are what the baselines themselves aim at: the share of a row's ten nearest
    that stay, and the share of energy that a reconstruction keeps. Raises InvalidArgumentError (an
    unknown probe).
    """
    if probe not in PROBES:
        raise InvalidArgumentError(
            f"Probe is not known: {probe!r}, expected one of {', '.join(PROBES)}"
        )
    if isinstance(data, Classification | MultiLabel):
        measured = _probed(data, compressed, probe, seed)
        own = data.test
    elif isinstance(data, ImageRetrieval):
        measured = _by_class(data, compressed)
        own = data.test
    elif isinstance(data, TwoSided):
        measured = _by_partner(data, compressed)
        own = data.right
    else:
        measured = _by_judgement(data, compressed)
        own = data.documents
    return {**measured, **_own_tasks(data.train, own, compressed)}


def average_precision(scores: Any, labels: Any) -> float:
    """Returns the average precision of one class: the mean precision at each positive's rank.

    scores  [n], larger = surer.
    labels  [n]: 1 positive, 0 negative, -1 left out.

    Not interpolated (VOC's devkit of 2007 takes eleven points instead); of equal scores the later
    row ranks lower. NaN where there is no positive.
    """
    values, wanted = np.asarray(scores, np.float64), np.asarray(labels)
    judged = wanted >= 0
    hits = wanted[judged][np.argsort(-values[judged], kind="stable")] == 1
    if not hits.any():
        return float("nan")
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    return float(precision[hits].mean())


def _probed(
    data: Classification | MultiLabel, compressed: Compressed, probe: str, seed: int
) -> Outcomes:
    train, test = compressed.transform(data.train), compressed.transform(data.test)
    if isinstance(data, MultiLabel):
        # -1, 0, 1 of the files are unknown, absent, present.
        targets = np.where(data.train_labels < 0, 0, 2 * data.train_labels - 1).astype(np.int8)
        scores = PROBES[probe](train, targets, test, _mean_average_precision, seed)
        return {"mAP": _average_precisions(scores, data.test_labels)}
    targets = np.full((len(train), data.classes), -1, np.int8)
    targets[np.arange(len(train)), data.train_labels] = 1
    scores = PROBES[probe](train, targets, test, _accuracy, seed)
    return {"accuracy": (scores.argmax(axis=1) == data.test_labels).astype(np.float64)}


def _accuracy(scores: NDArray[np.float64], targets: NDArray[Any]) -> float:
    return float((scores.argmax(axis=1) == targets.argmax(axis=1)).mean())


def _average_precisions(scores: NDArray[np.float64], labels: NDArray[Any]) -> NDArray[np.float64]:
    return np.array([average_precision(*column) for column in zip(scores.T, labels.T, strict=True)])


def _mean_average_precision(scores: NDArray[np.float64], targets: NDArray[Any]) -> float:
    labels = np.where(targets == 0, -1, (targets + 1) // 2)
    values = _average_precisions(scores, labels)
    return 0.0 if np.isnan(values).all() else float(np.nanmean(values))


def _by_class(data: ImageRetrieval, compressed: Compressed) -> Outcomes:
    depth = min(max(_DEPTHS), len(data.test) - 1)
    found = nearest_others(compressed.transform(data.test), depth)
    hits = data.test_labels[found] == data.test_labels[:, None]
    # A row alone in its class can find nothing, by any method.
    alone = np.bincount(data.test_labels)[data.test_labels] < 2
    return {f"recall@{k}": np.where(alone, np.nan, hits[:, :k].any(axis=1)) for k in _DEPTHS}


def _by_partner(data: TwoSided, compressed: Compressed) -> Outcomes:
    left, right = compressed.transform(data.left), compressed.transform(data.right)
    measured: Outcomes = {}
    for asking, answering, pairs, names in (
        (left, right, data.pairs, data.sides),
        (right, left, data.pairs[:, ::-1], data.sides[::-1]),
    ):
        found = evaluate.exact(asking, answering, min(max(_DEPTHS), len(answering)), "cosine")
        partners: list[set[int]] = [set() for _ in range(len(asking))]
        for one, other in pairs.tolist():
            partners[one].add(other)
        for k in _DEPTHS:
            measured[f"recall@{k} {names[0]} to {names[1]}"] = np.array(
                [
                    float(not wanted.isdisjoint(row)) if wanted else np.nan
                    for wanted, row in zip(partners, found[:, :k].tolist(), strict=True)
                ]
            )
    return measured


def _by_judgement(data: Judged, compressed: Compressed) -> Outcomes:
    queries, documents = (
        compressed.transform(data.queries),
        compressed.transform(data.documents),
    )
    found = evaluate.exact(queries, documents, min(10, len(documents)), "cosine")
    depth = found.shape[1]
    gains, recalls = [], []
    for row, wanted in zip(found, data.relevant, strict=True):
        gains.append(evaluate.ndcg(row[None], [wanted], depth))
        recalls.append(len(set(row.tolist()) & set(wanted)) / len(wanted))
    return {"nDCG@10": np.array(gains), "recall@10": np.array(recalls)}


def _own_tasks(train: Rows, rows: Rows, compressed: Compressed) -> Outcomes:
    if len(rows) < 3:
        return {}
    if len(rows) > _MOST_OWN_ROWS:
        drawn = np.random.default_rng(0).permutation(len(rows))[:_MOST_OWN_ROWS]
        rows = np.ascontiguousarray(rows[np.sort(drawn)])
    features = compressed.transform(rows)
    measured: Outcomes = {"neighbours@10": Neighbourhood(rows).kept(features)}
    if compressed.reconstruct is not None:
        mean = train.mean(axis=0, dtype=np.float64)
        energy = np.square(rows - mean).sum(axis=1).mean()
        left = np.square(compressed.reconstruct(features) - rows).sum(axis=1, dtype=np.float64)
        measured["explained"] = 1 - left / max(energy, 1e-30)
    return measured
