#!/usr/bin/env python3
r"""Recall by the schedule of prefixes at which relations are learned, and by a choice among some.

    .venv/bin/python benchmarks/progressive_lengths.py --results results.jsonl \
        [--data sentences] [--data NAME=rows.npy] [--rows 9000] [--seeds 0,1]

Progressive training draws lengths from a Beta distribution, whose mean moves. Each schedule trains
a model of 96 bytes of the same --rows rows, drawn and asked as in ablation.py, without a time
budget; all share the codebooks that relations start from, by a checkpoint. Held-out recall is what
the trainer itself measures after relations, at a quarter, half and all of the whole-space tokens:
what is best by its mean is what a trainer would choose that tried them all.

Every finished model is one line of --results; started again with the same file, the program
measures what is missing. A Markdown table for each data set goes to the standard output at the end:
mean over the seeds, and the most that seeds differ.
"""

from __future__ import annotations

import argparse
import hashlib
import pathlib
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import arfc
from ablation import Trial, read_rows
from results import Results

Schedule = tuple[float, float, float]
SCHEDULES: dict[str, Schedule] = {
    "from .75 to .25, the default": (0.75, 0.25, 4.0),
    "from .75 to .25, concentration 2": (0.75, 0.25, 2.0),
    "from .75 to .25, concentration 8": (0.75, 0.25, 8.0),
    "from .9 to .1": (0.9, 0.1, 4.0),
    "from .25 to .75": (0.25, 0.75, 4.0),
    ".5 throughout": (0.5, 0.5, 4.0),
}
LENGTHS = (4, 8, 32, 96)


@dataclass(frozen=True)
class Cell:
    """What one line of the results is about."""

    data: str
    digest: str
    """Of the rows."""
    rows: int
    """That train."""
    seed: int
    first_mean: float
    last_mean: float
    concentration: float


def begin(trial: Trial, count: int, directory: pathlib.Path) -> None:
    """Leaves a checkpoint of all that comes before relations."""
    try:
        arfc.Compressor.train(
            trial.train[:count],
            LENGTHS[-1],
            seed=trial.seed,
            checkpoint=directory,
            progress=lambda progress: progress.stage != "relations",
        )
    except arfc.CancelledError:
        return
    raise RuntimeError(f"Training knows no relations, rows: {count}")


def measure(trial: Trial, count: int, begun: pathlib.Path, schedule: Schedule) -> dict[str, Any]:
    """Trains on from the checkpoint, and returns what was found."""
    with tempfile.TemporaryDirectory() as directory:
        checkpoint = pathlib.Path(directory, "checkpoint")
        shutil.copytree(begun, checkpoint)
        model = arfc.Compressor.train(
            trial.train[:count],
            LENGTHS[-1],
            seed=trial.seed,
            prefix_schedule=schedule,
            checkpoint=checkpoint,
            checkpoint_every_s=3600,
            resume=True,
        )
    codes = model.encode(trial.base)
    kept = [part for part in model.report.parts if part.is_kept][-1]
    return {
        "recall": [trial.found(model.score(trial.queries, codes[:, :n])) for n in LENGTHS],
        "held_out": list(kept.recall.values()),
        "part": kept.part,
        "seconds": model.report.seconds,
    }


def table(name: str, cells: dict[str, list[Cell]], results: Results[Cell]) -> str:
    """Returns a data set's means, and what the choice by held-out recall finds."""
    lines = [
        f"**{name}**, recall@10\n",
        "| | " + " | ".join(f"{n} B" for n in LENGTHS) + " | held-out |",
        "|---" * (2 + len(LENGTHS)) + "|",
    ]
    finished = {
        schedule: [results[cell] for cell in of_seeds if cell in results]
        for schedule, of_seeds in cells.items()
    }
    for schedule, found in finished.items():
        lines.append(f"| {schedule} | " + " | ".join(averages(found)) + " |")
    if len({len(found) for found in finished.values()}) == 1 and all(finished.values()):
        chosen = [
            max(of_seed, key=lambda value: statistics.mean(value["held_out"]))
            for of_seed in zip(*finished.values(), strict=True)
        ]
        lines.append(
            "| the best of them by held-out recall | " + " | ".join(averages(chosen)) + " |"
        )
    return "\n".join(lines)


def averages(found: Sequence[dict[str, Any]]) -> list[str]:
    """Returns a table's entries: by length, then of the held-out rows."""
    columns = [*zip(*(value["recall"] for value in found), strict=True)]
    columns.append(tuple(statistics.mean(value["held_out"]) for value in found))
    return [
        f"{statistics.mean(column):.4f} ({max(column) - min(column):.4f})"
        for column in columns
        if column
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--results", type=pathlib.Path, required=True)
    parser.add_argument("--data", action="append", help="sentences, or NAME=rows.npy; repeatable")
    parser.add_argument("--rows", type=int, default=9_000, help="rows that train")
    parser.add_argument("--seeds", default="0,1")
    args = parser.parse_args()
    seeds = [int(seed) for seed in args.seeds.split(",")]

    results = Results(args.results, Cell)
    tables = []
    for argument in args.data or ["sentences"]:
        try:
            name, rows = read_rows(argument)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        digest = hashlib.sha256(rows.tobytes()).hexdigest()[:16]
        cells = {
            title: [Cell(name, digest, args.rows, seed, *schedule) for seed in seeds]
            for title, schedule in SCHEDULES.items()
        }
        for place, seed in enumerate(seeds):
            missing = [title for title in SCHEDULES if cells[title][place] not in results]
            if not missing:
                continue
            trial = Trial(rows, seed)
            if args.rows > len(trial.train):
                parser.error(f"only {len(trial.train):,} rows can train, wanted {args.rows:,}")
            with tempfile.TemporaryDirectory() as directory:
                begin(trial, args.rows, pathlib.Path(directory, "begun"))
                for title in missing:
                    value = measure(
                        trial, args.rows, pathlib.Path(directory, "begun"), SCHEDULES[title]
                    )
                    results.add(cells[title][place], value)
                    found = " ".join(f"{share:.4f}" for share in value["recall"])
                    print(
                        f"{name}, seed {seed}, {title}: {found}, {value['seconds']:.0f} s",
                        file=sys.stderr,
                    )
        tables.append(table(name, cells, results))
    print("\n\n".join(tables))


if __name__ == "__main__":
    main()
