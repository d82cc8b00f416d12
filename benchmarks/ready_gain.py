#!/usr/bin/env python3
r"""Recall of codes by a ready model beside models trained on so many rows of the collection's own.

    .venv/bin/python benchmarks/ready_gain.py rows.npy [--model all-MiniLM-L6-v2] \
        [--sizes 500,1000,2000,5000] [--bytes 8,16,32,96]

rows.npy is [n, d], embeddings by the model that the ready one is for. A random half of the rows is
indexed, 1,000 of the other half ask (fewer where there are few), and what is left of it trains, as
many rows as --sizes says; rows that train are never indexed, as rows that arrive after a training
are not. Recall@10 counts the ten exact nearest rows by cosine among the ten best by code. Tells too
what drift() says of the indexed rows.
"""

from __future__ import annotations

import argparse
import time

import arfc
import numpy as np
from nearest import recall, top10

QUERIES = 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows")
    parser.add_argument("--model", default="all-MiniLM-L6-v2")
    parser.add_argument("--sizes", default="500,1000,2000,5000")
    parser.add_argument("--bytes", default="8,16,32,96")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    lengths = [int(length) for length in args.bytes.split(",")]
    rows = np.load(args.rows).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    rows = rows[np.random.default_rng(args.seed).permutation(len(rows))]
    indexed, others = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    asking = min(QUERIES, len(others) // 2)
    queries, training = others[:asking], others[asking:]
    truth = top10(queries @ indexed.T)

    def show(name: str, model: arfc.Compressor, note: str) -> None:
        codes = model.encode(indexed)
        found = [
            recall(model.score(queries, np.ascontiguousarray(codes[:, :length])), truth)
            for length in lengths
        ]
        print(f"{name:>20}  {'  '.join(f'{value:.3f}' for value in found)}  {note}", flush=True)

    print(f"{args.rows}: {len(indexed):,} rows are indexed, {asking:,} ask")
    print(f"{'recall@10':>20}  {'  '.join(f'{length:>3} B' for length in lengths)}")
    ready = arfc.Compressor.ready(args.model)
    points = ready.drift(indexed).points
    drift = max(point.ratio for point in points.values())
    show("ready", ready, f"drift {drift:.2f}")
    for size in [int(size) for size in args.sizes.split(",")]:
        if size > len(training):
            print(f"{size:>20,}  there are only {len(training):,} rows to train on")
            continue
        started = time.perf_counter()
        model = arfc.Compressor.train(training[:size], max(lengths), seed=args.seed)
        show(f"{size:,} rows", model, f"trained in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
