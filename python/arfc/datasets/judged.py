"""Features of documents and queries with judgements of relevance."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from arfc.datasets.reading import Source, same_width
from arfc.errors import InvalidArgumentError


@dataclass(frozen=True)
class Judged:
    """Queries ask for the documents that were judged relevant to them."""

    name: str
    train: NDArray[np.float32]
    """[n, dim]: training rows, or the documents."""
    trained_on_test: bool
    """Whether `train` is the documents."""
    queries: NDArray[np.float32]
    """[m, dim]: those with at least one relevant document."""
    documents: NDArray[np.float32]
    """[d, dim]."""
    relevant: list[dict[int, float]]
    """For each query the gain, > 0, of each relevant document's place."""


def read_judged(path: str | os.PathLike[str], name: str, classes: int | None) -> Judged:
    """Reads docs [d, dim], queries [m, dim], and qrels.tsv.

    path     A folder: docs.npy, queries.npy, qrels.tsv, and doc_ids.txt and query_ids.txt with an
             id a line in the rows' order (absent: ids are the places, from 0). A line of qrels.tsv
             is a query's id, a document's id and a gain (absent: 1), between tabs; a first line
             whose gain is no number is a heading. Gains of 0 and less are not relevant. `train.npy`
             may hold other rows to learn from. Queries that nothing is relevant to are left out.
    classes  Unused: there are none.

    Raises NotFoundError, CorruptionError, StorageIoError, InvalidArgumentError (a shape, a type, an
    id that is not there, a value that is not finite, no judgement at all).
    """
    source = Source(path)
    documents, queries = source.features("docs"), source.features("queries")
    same_width(documents, "docs", queries, "queries")
    places = _places(source, "doc_ids.txt", len(documents))
    asking = _places(source, "query_ids.txt", len(queries))
    relevant: list[dict[int, float]] = [{} for _ in range(len(queries))]
    for number, line in enumerate(source.text("qrels.tsv").splitlines(), 1):
        fields = line.split("\t")
        if not line.strip():
            continue
        gain = _gain(fields)
        if gain is None:
            if number == 1:
                continue
            raise InvalidArgumentError(
                f"A judgement is a query, a document and a gain between tabs:"
                f" {source.path / 'qrels.tsv'}, line {number}: {line!r}"
            )
        for identity, known, what in (
            (fields[0], asking, "query"),
            (fields[1], places, "document"),
        ):
            if identity not in known:
                raise InvalidArgumentError(
                    f"A judgement names a {what} that is not there: {source.path / 'qrels.tsv'},"
                    f" line {number}: {identity!r}"
                )
        if gain > 0:
            relevant[asking[fields[0]]][places[fields[1]]] = gain
    judged = [place for place, gains in enumerate(relevant) if gains]
    if not judged:
        raise InvalidArgumentError(f"No query has a relevant document: {source.path / 'qrels.tsv'}")
    train = source.features("train") if "train" in source else None
    if train is not None:
        same_width(documents, "docs", train, "train")
    return Judged(
        name,
        documents if train is None else train,
        train is None,
        np.ascontiguousarray(queries[judged]),
        documents,
        [relevant[place] for place in judged],
    )


def _places(source: Source, name: str, rows: int) -> dict[str, int]:
    if not (source.path / name).exists():
        return {str(place): place for place in range(rows)}
    ids = source.text(name).split()
    if len(ids) != rows or len(set(ids)) != rows:
        raise InvalidArgumentError(
            f"Ids must be as many as rows, each another one: {source.path / name}, {len(ids)} ids,"
            f" {len(set(ids))} of them different, {rows} rows"
        )
    return {identity: place for place, identity in enumerate(ids)}


def _gain(fields: list[str]) -> float | None:
    """Returns a line's gain; None where it is no judgement."""
    if len(fields) == 2:
        return 1.0
    try:
        gain = float(fields[2])
    except (IndexError, ValueError):
        return None
    return gain if np.isfinite(gain) else None
