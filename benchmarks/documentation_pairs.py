#!/usr/bin/env python3
"""Makes a data set of two sides: summaries of docstrings, and the rest of each.

    .venv/bin/python benchmarks/documentation_pairs.py FOLDER [--entries 6000]

Docstrings of the installed Python, drawn by a fixed seed, embedded with all-MiniLM-L6-v2: half of
them train, half are asked for. FOLDER, made where it is missing, then holds what
`arfc.datasets.read_two_sided` reads: queries.npy, documents.npy and pairs.npy, train_queries.npy
and train_documents.npy. Embeddings are kept from run to run where the demo keeps its own.
"""

from __future__ import annotations

import argparse
import pathlib

import numpy as np
from sentences import corpus, embedded


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument(
        "--entries", type=int, default=6_000, help="most docstrings, an even number"
    )
    args = parser.parse_args()
    if args.entries < 40 or args.entries % 2:
        parser.error(f"entries are an even number, at least 40: {args.entries}")
    entries = corpus.collect(args.entries, 0).entries
    order = np.random.default_rng(0).permutation(len(entries))
    queries = embedded([entry.question for entry in entries])[order]
    documents = embedded([entry.document for entry in entries])[order]
    half = len(order) // 2
    args.folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (
        ("train_queries", queries[:half]),
        ("train_documents", documents[:half]),
        ("queries", queries[half:]),
        ("documents", documents[half:]),
        ("pairs", np.arange(len(order) - half)),
    ):
        np.save(args.folder / f"{name}.npy", rows)
    print(f"{len(order) - half:,} pairs to find, {half:,} to learn from: {args.folder}")


if __name__ == "__main__":
    main()
