#!/usr/bin/env python3
r"""How near the recall that a plan predicts is to what its collection then finds.

    .venv/bin/python benchmarks/plan_accuracy.py --data clinc150=embeddings.npy [--data ...] \
        [--targets 10] [--rows 8000] [--sample N] [--queries 2000] [--train 8000] [--bytes 96] \
        [--seconds S] [--k 10] [--metric cosine] [--seed 0]

Of each set some rows train a model, some are queries, and --rows others are planned for, from all
of them or from --sample. For each target, drawn between what the shortest and the longest code
find, the plan's collection is made and asked with the plan's stages: its recall@k against the exact
neighbours is what was predicted, or is not. The queries are in no plan. A Markdown table goes to
the standard output, with the largest difference of each set.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
from dataclasses import dataclass

import arfc
import numpy as np
from arfc import evaluate
from numpy.typing import NDArray

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """What becomes of a set's rows."""

    train: Rows
    queries: Rows
    rows: Rows


def divide(path: str, args: argparse.Namespace) -> Parts:
    everything = np.load(path, mmap_mode="r")
    wanted = args.train + args.queries + args.rows
    if len(everything) < args.train + args.queries + 1000:
        raise SystemExit(f"{path} has too few rows: {len(everything)}, expected {wanted}")
    order = np.random.default_rng(args.seed).permutation(len(everything))[:wanted]
    drawn = np.asarray(everything[order], np.float32)
    return Parts(*np.split(drawn, [args.train, args.train + args.queries]))


def found(
    point: arfc.PlannedPoint, model: arfc.Compressor, parts: Parts, k: int, directory: str
) -> NDArray[np.int64]:
    """Returns what a collection of the point's kind answers."""
    folder = pathlib.Path(directory, point.factory.replace("/", "_"))
    if folder.exists():
        collection = arfc.Collection.open(folder)
    else:
        collection = arfc.Collection.create(
            folder, model.dim, model.metric, point.factory, model=model
        )
        collection.upsert(np.arange(len(parts.rows)), parts.rows)
        collection.optimize()
    with collection:
        answer = collection.search(
            parts.queries, k, stages=point.stages, nprobe=point.nprobe, ef_search=point.ef_search
        )
    return np.stack(answer.ids).astype(np.int64)


def measure(name: str, path: str, args: argparse.Namespace) -> float:
    """Prints a set's lines. Returns the largest difference."""
    parts = divide(path, args)
    model = arfc.Compressor.train(
        parts.train, args.bytes, args.metric, time_budget_s=args.seconds, seed=args.seed
    )
    truth = evaluate.exact(parts.queries, parts.rows, args.k, args.metric)
    sample = parts.rows[: args.sample]

    def plan(target: float) -> arfc.Plan:
        return arfc.plan(
            sample, model, target_recall=target, k=args.k, ntotal=len(parts.rows), seed=args.seed
        )

    curve = plan(0.9).curve
    low, high = curve[0].predicted_recall, curve[-1].predicted_recall
    worst = 0.0
    with tempfile.TemporaryDirectory() as directory:
        for target in sorted(np.random.default_rng(args.seed).uniform(low, high, args.targets)):
            point = plan(float(target)).chosen
            recall = evaluate.recall_at_k(
                found(point, model, parts, args.k, directory), truth, args.k
            )
            difference = point.predicted_recall - recall
            worst = max(worst, abs(difference))
            lower, upper = point.recall_interval
            print(
                f"| {name} | {target:.3f} | {point.factory} | {point.bytes_per_row:.1f} |"
                f" {point.predicted_recall:.4f} | {lower:.4f} to {upper:.4f} | {recall:.4f} |"
                f" {difference:+.4f} |",
                flush=True,
            )
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", required=True, metavar="NAME=ROWS.npy")
    parser.add_argument("--targets", type=int, default=10)
    parser.add_argument("--rows", type=int, default=8000, help="that are planned for, at most")
    parser.add_argument("--sample", type=int, help="of them, that the plan is made from")
    parser.add_argument("--queries", type=int, default=2000)
    parser.add_argument("--train", type=int, default=8000, help="rows that train")
    parser.add_argument("--bytes", type=int, default=96)
    parser.add_argument("--seconds", type=float, help="time budget of a training")
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--metric", default="cosine", choices=("cosine", "ip", "l2"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print("| set | target | plan | bytes a row | predicted | 95 % | found | difference |")
    print("|---" * 8 + "|")
    worst = {}
    for item in args.data:
        name, _, path = item.partition("=")
        worst[name] = measure(name, path, args)
    for name, difference in worst.items():
        print(f"{name}: largest difference {difference:.4f}")


if __name__ == "__main__":
    main()
