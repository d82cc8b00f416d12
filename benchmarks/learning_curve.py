#!/usr/bin/env python3
r"""Recall by the number of rows that train.

    .venv/bin/python benchmarks/learning_curve.py --results results.jsonl \
        [--sizes 5000,20000,50000,100000] [--most 100000] [--bytes 4,8,16,32,96] [--seconds S] \
        [--seed 0] [--embeddings rows.npy]

Rows are drawn and asked as in relation_gain.py, --most of them to train, of which fewer are the
first: every size is asked the same. One model of the longest length gives every length: its codes
are cut. Without --seconds a training ends when it has converged. Every finished size is a few lines
of --results; started again with the same file, the program measures what is missing. A Markdown
table goes to the standard output, with what training took: seconds, and the largest resident memory
of the process that trained, rows included.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import pathlib
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

import arfc
from nearest import Rows, recall
from relation_gain import Trial, wanted_rows
from results import Results


@dataclass(frozen=True)
class Cell:
    """What one line of the results is about."""

    digest: str
    """Of the rows."""
    trained: int
    bytes: int
    most: int
    """Rows that could have trained: those behind them are indexed."""
    longest: int
    """Length of the model whose codes are cut."""
    seed: int
    seconds: float | None
    """Budget of the training; None: none."""


def train(rows: Rows, args: argparse.Namespace, directory: str) -> int:
    """Trains and saves a model. Returns the most memory that was resident, in bytes."""
    arfc.Compressor.train(rows, max(args.lengths), seed=args.seed, time_budget_s=args.seconds).save(
        directory
    )
    # Of this process alone: what getrusage() tells is the parent's where that was larger.
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def measure(trial: Trial, size: int, args: argparse.Namespace) -> dict[int, dict[str, Any]]:
    """Returns what is known of a training: by length, in bytes."""
    with tempfile.TemporaryDirectory() as directory:
        # In a process of its own, so that memory is the training's.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            memory = pool.apply(train, (trial.train[:size], args, directory))
        model = arfc.Compressor.load(directory)
    codes = model.encode(trial.base)
    return {
        length: {
            "recall": recall(
                trial.ranked(model.score(trial.queries, codes[:, :length])), trial.truth
            ),
            "seconds": model.report.seconds,
            "memory": memory,
        }
        for length in args.lengths
    }


def table(digest: str, results: Results[Cell], args: argparse.Namespace) -> str:
    lines = [
        "| rows | "
        + " | ".join(f"{length} B" for length in args.lengths)
        + " | training | memory |",
        "|---" * (3 + len(args.lengths)) + "|",
    ]
    for size in args.sizes:
        values = [results[cell_of(digest, size, length, args)] for length in args.lengths]
        row = [f"{size:,}", *(f"{value['recall']:.4f}" for value in values)]
        row += [f"{values[0]['seconds']:.0f} s", f"{values[0]['memory'] / 2**30:.2f} GiB"]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def cell_of(digest: str, size: int, length: int, args: argparse.Namespace) -> Cell:
    return Cell(digest, size, length, args.rows, max(args.lengths), args.seed, args.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--sizes", default="5000,20000,50000,100000", help="rows that train")
    parser.add_argument(
        "--most",
        dest="rows",
        type=int,
        default=100_000,
        help="rows of which they are the first",
    )
    parser.add_argument("--bytes", default="4,8,16,32,96")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=None, help="time budget of a training")
    parser.add_argument("--embeddings", help="[n, d] rows instead of sentences' (.npy)")
    args = parser.parse_args()
    args.sizes = sorted(int(size) for size in args.sizes.split(","))
    args.lengths = sorted(int(length) for length in args.bytes.split(","))
    if args.sizes[-1] > args.rows:
        parser.error(f"a size is above --most: {args.sizes[-1]:,}")

    rows = wanted_rows(args.rows, args, parser)
    digest = hashlib.sha256(rows.tobytes()).hexdigest()[:16]
    results = Results(args.results, Cell)
    trial = Trial(rows, args.seed, args)
    for size in args.sizes:
        cells = {length: cell_of(digest, size, length, args) for length in args.lengths}
        if all(cell in results for cell in cells.values()):
            continue
        for length, value in measure(trial, size, args).items():
            if cells[length] not in results:
                results.add(cells[length], value)
            print(
                f"{size:,} rows, {length} B: {value['recall']:.4f}, training"
                f" {value['seconds']:.0f} s",
                file=sys.stderr,
            )
    print(table(digest, results, args))


if __name__ == "__main__":
    main()
