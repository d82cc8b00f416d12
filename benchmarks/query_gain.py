#!/usr/bin/env python3
r"""Recall of codes for queries of another kind than the rows, trained with and without such ones.

    .venv/bin/python benchmarks/query_gain.py [--rows 11000] [--bytes 4,8,16] [--seed 0] \
        [--data ROWS.npy QUERIES.npy]

The corpus is the demo's, the documentation of the installed Python, embedded with all-MiniLM-L6-v2
and cached as the demo's is: queries are the sentences that docstrings begin with, rows all others,
which explain. --data takes rows and queries of your own. Half of the queries train, the others ask;
of the rows --rows train and 20,000 others are indexed, of which 5,000 ask, too, each for others
than itself. Recall@10 counts the ten exact nearest rows by cosine among the ten best by code.
"""

from __future__ import annotations

import argparse

import arfc
import numpy as np
from nearest import Rows, recall, top10, unit_rows, without_themselves
from sentences import drawn, embedded, first_sentences, sentences

SENTENCES = 71_500
INDEXED = 20_000
ASKING = 5_000


def documentation() -> tuple[Rows, Rows]:
    """Returns rows and queries."""
    texts = drawn(sentences(), SENTENCES)
    first = first_sentences()
    is_query = np.array([text.casefold() in first for text in texts])
    rows = embedded(texts)
    return rows[~is_query], rows[is_query]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=11_000, help="rows that train")
    parser.add_argument("--bytes", default="4,8,16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data", nargs=2, metavar="NPY", help="[n, d] rows and [m, d] queries")
    args = parser.parse_args()
    lengths = [int(length) for length in args.bytes.split(",")]

    rows, queries = map(unit_rows, args.data) if args.data else documentation()
    if args.rows + INDEXED > len(rows):
        parser.error(f"only {len(rows):,} rows, wanted {args.rows + INDEXED:,}")
    random = np.random.default_rng(args.seed)
    train, base, _ = np.split(random.permutation(rows), np.cumsum([args.rows, INDEXED]))
    taught, asking = np.array_split(random.permutation(queries), 2)
    asking_rows = base[:ASKING]
    truth = top10(asking @ base.T)
    truth_of_rows = top10(without_themselves(asking_rows @ base.T))
    print(
        f"{len(train):,} rows of {rows.shape[1]} floats and {len(taught):,} queries train,"
        f" {len(base):,} rows are indexed, {len(asking):,} other queries and {ASKING:,} rows ask",
        flush=True,
    )
    for name, given in (("without queries", None), ("with queries", taught)):
        model = arfc.Compressor.train(train, max(lengths), queries=given, seed=args.seed)
        codes = model.encode(base)
        print(f"{name}, training {model.report.seconds:.0f} s")
        for length in lengths:
            prefix = codes[:, :length]
            found = recall(model.score(asking, prefix), truth)
            of_rows = recall(without_themselves(model.score(asking_rows, prefix)), truth_of_rows)
            print(
                f"  {length:3} bytes: queries ask {found:.4f}, rows ask {of_rows:.4f}", flush=True
            )


if __name__ == "__main__":
    main()
