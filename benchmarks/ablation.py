#!/usr/bin/env python3
r"""Recall by what a codec is made of, at equal bytes: arfc part by part, and FAISS's codecs.

    .venv/bin/python benchmarks/ablation.py --results results.jsonl \
        [--data sentences] [--data NAME=rows.npy] [--bytes 8,32,96] [--seeds 0,1,2] [--seconds 300]
        [--methods arfc,FAISS]

rows.npy is [n, d]; `sentences` are 71,500 of the installed Python's documentation, embedded with
all-MiniLM-L6-v2. A seed draws a tenth of the rows, at most 1,500, that ask; half of the others
train, half are indexed. Recall@10 counts the ten exact nearest rows by cosine among the ten best by
code. One arfc model of the longest length, trained in at most --seconds, gives every length: its
codes are cut; they are scored by tables, and again by the rows that they decode to. FAISS's codecs
are trained anew for each, without a budget, and scored by the cosine of their decoded rows.

Every finished cell (rows, method, bytes, seed, seconds, longest length) is one line of --results;
started again with the same file, the program measures what is missing. A Markdown table for each
data set goes to the standard output at the end: mean over the seeds, lowest and highest.
"""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import arfc
import numpy as np
from nearest import Rows, recall, top10
from results import Results
from sentences import drawn, embedded, sentences

SENTENCES = 71_500
MOST_ASKING = 1_500


@dataclass(frozen=True)
class Cell:
    """What one line of the results is about."""

    data: str
    digest: str
    """Of the rows."""
    method: str
    bytes: int
    seed: int
    seconds: float | None
    """Budget of an arfc training; None for others, which have none."""
    model_bytes: int | None
    """Longest length of the model; None for others, whose only one is `bytes`."""


class Trial:
    """Rows that train, are indexed and ask, for one seed."""

    def __init__(self, rows: Rows, seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(rows))
        asking = min(MOST_ASKING, len(rows) // 10)
        half = asking + (len(rows) - asking) // 2
        parts = np.split(order, [asking, half])
        self.queries, self.train, self.base = (rows[part] for part in parts)
        self.truth = top10(self.queries @ self.base.T)
        self.seed = seed

    def found(self, scores: Rows) -> float:
        """Returns recall@10 of scores [queries, base]."""
        return recall(scores, self.truth)


Measured = dict[str, Any]
Measure = Callable[[Trial, Sequence[int], argparse.Namespace], Iterator[tuple[int, Measured]]]
"""(trial, lengths in bytes, arguments) -> each length and what was measured."""


def by_arfc(relations: bool) -> Measure:
    """Returns what measures a model with or without relations (and landmarks, which go with them).

    What each part gained on held-out rows, as the model reports it, is kept beside the recall.
    """

    def measure(
        trial: Trial, lengths: Sequence[int], args: argparse.Namespace
    ) -> Iterator[tuple[int, Measured]]:
        model = arfc.Compressor.train(
            trial.train,
            code_bytes=max(args.lengths),
            relations=relations,
            seed=trial.seed,
            time_budget_s=args.seconds,
        )
        codes = model.encode(trial.base)
        parts = [
            {"part": part.part, "is_kept": part.is_kept, "recall": part.recall}
            for part in model.report.parts
        ]
        for length in lengths:
            found, neural = (
                trial.found(model.score(trial.queries, codes[:, :length], neural=by_rows))
                for by_rows in (False, True)
            )
            yield (
                length,
                {
                    "recall": found,
                    "neural": neural,
                    "seconds": model.report.seconds,
                    "parts": parts,
                },
            )

    return measure


def by_faiss(factory: Callable[[int, int], str]) -> Measure:
    """Returns what measures FAISS's codec of that name: (floats, bytes) -> factory string."""

    def measure(
        trial: Trial, lengths: Sequence[int], _: argparse.Namespace
    ) -> Iterator[tuple[int, Measured]]:
        from faiss_codecs import cosines

        for length in lengths:
            name = factory(trial.train.shape[1], length)
            scores, seconds, size = cosines(name, trial.train, trial.base, trial.queries)
            if size > length:
                raise ValueError(f"{name} takes {size} bytes")
            yield length, {"recall": trial.found(scores), "seconds": seconds}

    return measure


def residual_quantizer(_: int, length: int) -> str:
    """Whole-space tokens as far as they can be trained in minutes; behind, eight a sub-space."""
    return f"RQ{length}x8" if length <= 32 else f"PRQ{length // 8}x8x8"


OURS = {
    "arfc: residual codebooks": by_arfc(relations=False),
    "arfc: and relations, landmarks": by_arfc(relations=True),
}
PEERS = {
    "FAISS PCA and scalar": by_faiss(lambda dim, length: f"PCA{min(dim, length)},SQ8"),
    "FAISS OPQ": by_faiss(lambda dim, length: f"OPQ{length}_{min(dim, 4 * length)},PQ{length}x8"),
    "FAISS RQ (PRQ beyond 32 bytes)": by_faiss(residual_quantizer),
}
METHODS = {**PEERS, **OURS}
FAMILIES = {"arfc": OURS, "FAISS": PEERS}


def read_rows(argument: str) -> tuple[str, Rows]:
    """Reads `sentences` or NAME=PATH; returns the name and L2-normalised rows."""
    name, _, path = argument.partition("=")
    if not path:
        if name != "sentences":
            raise ValueError(f"Data are `sentences` or NAME=rows.npy: {argument!r}")
        return name, embedded(drawn(sentences(), SENTENCES))
    rows = np.load(path)
    if rows.ndim != 2 or rows.dtype.kind != "f" or len(rows) < 100:
        raise ValueError(f"Rows are no matrix of 100 rows of floats or more: {path}")
    rows = rows.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not (np.isfinite(lengths).all() and lengths.all()):
        raise ValueError(f"A row is zero or not finite: {path}")
    return name, rows / lengths


def table(name: str, digest: str, results: Results[Cell], args: argparse.Namespace) -> str:
    """Returns a data set's means, lowest and highest over the seeds that are finished."""
    lines = [
        f"**{name}**, recall@10\n",
        "| | " + " | ".join(f"{length} B" for length in args.lengths) + " |",
        "|---" * (1 + len(args.lengths)) + "|",
    ]
    for method in METHODS:
        measures = {"recall": method}
        if method in OURS:
            measures["neural"] = f"{method}, by decoded rows"
        for measure, title in measures.items():
            row = [title]
            for length in args.lengths:
                cells = [cell_of(name, digest, method, length, seed, args) for seed in args.seeds]
                row.append(spread([results[cell][measure] for cell in cells if cell in results]))
            lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def spread(found: Sequence[float]) -> str:
    """Returns a table's entry for what the seeds that are finished found."""
    if not found:
        return ""
    if len(found) == 1:
        return f"{found[0]:.3f} (one seed)"
    return f"{statistics.mean(found):.3f} [{min(found):.3f}, {max(found):.3f}]"


def cell_of(
    name: str, digest: str, method: str, length: int, seed: int, args: argparse.Namespace
) -> Cell:
    ours = (args.seconds, max(args.lengths)) if method in OURS else (None, None)
    return Cell(name, digest, method, length, seed, *ours)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--data", action="append", help="sentences, or NAME=rows.npy; repeatable")
    parser.add_argument("--bytes", default="8,32,96")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--methods", default="arfc,FAISS", help="which to measure; all are shown")
    args = parser.parse_args()
    families = args.methods.split(",")
    if unknown := sorted(set(families) - FAMILIES.keys()):
        parser.error(f"methods are of {', '.join(FAMILIES)}: {unknown[0]!r}")
    wanted = {name: by for family in families for name, by in FAMILIES[family].items()}
    args.seeds = [int(seed) for seed in args.seeds.split(",")]
    args.lengths = [int(length) for length in args.bytes.split(",")]

    results = Results(args.results, Cell)
    tables = []
    for argument in args.data or ["sentences"]:
        try:
            name, rows = read_rows(argument)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        digest = hashlib.sha256(rows.tobytes()).hexdigest()[:16]
        for seed in args.seeds:
            trial: Trial | None = None
            for method, measure in wanted.items():
                missing = [
                    length
                    for length in args.lengths
                    if cell_of(name, digest, method, length, seed, args) not in results
                ]
                if not missing:
                    continue
                trial = trial or Trial(rows, seed)
                for length, value in measure(trial, missing, args):
                    results.add(cell_of(name, digest, method, length, seed, args), value)
                    print(
                        f"{name}, seed {seed}, {length} B, {method}: {value['recall']:.4f},"
                        f" training {value['seconds']:.0f} s",
                        file=sys.stderr,
                    )
        tables.append(table(name, digest, results, args))
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
