#!/usr/bin/env python3
r"""What proofs and confidences cost, and how often they come true.

    .venv/bin/python benchmarks/certainty.py [--rows 10000] [--indexed 20000] [--asking 500] \
        [--data ROWS.npy QUERIES.npy]

The corpus is the demo's, the documentation of the installed Python, embedded with all-MiniLM-L6-v2
and cached as the demo's is: rows are sentences, queries those that docstrings begin with. --data
takes rows and queries of your own. --rows rows train a model of 96 bytes, --indexed others are put
into a collection for each factory string; --asking more rows and as many queries ask for their ten
nearest. A line tells, of each way to search: how many answers are exactly those of `exact`, how many
are certified and by what, and the bytes read a query, also as a share of all the code bytes there
are.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

import arfc
import numpy as np
from nearest import Rows, top10, unit_rows

FACTORIES = "ARFC96/16;ARFC96/16_R;ARFC96/32/16_R;ARFC96/48/32/16_R;ARFC96/16_R,IVF64"
K = 10
WAYS: list[tuple[str, dict[str, object]]] = [
    ("limits", {}),
    ("confidence .9", {"until": {"confidence": 0.9}}),
    ("confidence .99", {"until": {"confidence": 0.99}}),
    ("certain", {"until": "certain"}),
]


def documentation() -> tuple[Rows, Rows]:
    """Returns rows and queries."""
    from sentences import drawn, embedded, first_sentences, sentences

    texts = drawn(sentences(), 40_000)
    first = first_sentences()
    is_query = np.array([text.casefold() in first for text in texts])
    rows = embedded(texts)
    return rows[~is_query], rows[is_query]


def report(
    collection: arfc.Collection, factory: str, asked: dict[str, tuple[Rows, Rows]]
) -> None:
    """Prints a line for each way to ask, after one that computes what later ones find cached."""
    points, code_bytes = collection.info().points, collection.info().code_bytes
    for name, (queries, truth) in asked.items():
        exact = collection.search(queries, K, exact=True)
        for way, options in WAYS:
            start = time.perf_counter()
            answer = collection.search(queries, K, **options)
            seconds = time.perf_counter() - start
            pairs = list(zip(answer.ids, exact.ids, strict=True))
            same = np.mean([np.array_equal(found, wanted) for found, wanted in pairs])
            true = np.mean([len(set(ids) & set(t)) / K for ids, t in zip(answer.ids, truth)])
            certainty = answer.certainty or []
            shares = {word: certainty.count(word) / len(queries) for word in set(certainty)}
            read = sum(stage.bytes_read for stage in answer.stages) / len(queries)
            tails = sum(stage.bytes_read for stage in answer.stages[1:]) / len(queries)
            print(
                f"{factory:20} {name:8} {way:14} same as exact {same:.3f}, recall@10 {true:.3f},"
                f" read {read / 1e3:8.1f} kB ({read / (points * code_bytes):.3f} of all,"
                f" tails {tails / 1e3:8.1f} kB), {1e3 * seconds / len(queries):6.2f} ms,"
                f" {shares}",
                flush=True,
            )
            for ids, wanted, word in zip(answer.ids, exact.ids, certainty, strict=False):
                if word in ("codes", "originals") and not np.array_equal(ids, wanted):
                    raise SystemExit("a certificate is false")
            for ids, t, word in zip(answer.ids, truth, certainty, strict=False):
                if word == "originals" and set(ids) != set(t):
                    raise SystemExit("a certificate by originals is false")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000, help="rows that train")
    parser.add_argument("--indexed", type=int, default=20_000)
    parser.add_argument("--asking", type=int, default=500)
    parser.add_argument("--factories", default=FACTORIES, help="with semicolons between them")
    parser.add_argument("--model", type=pathlib.Path, help="kept here, and not trained if there")
    parser.add_argument("--data", nargs=2, metavar="NPY", help="[n, d] rows and [m, d] queries")
    args = parser.parse_args()
    rows, queries = map(unit_rows, args.data) if args.data else documentation()
    needed = args.rows + args.indexed + args.asking
    if needed > len(rows):
        parser.error(f"only {len(rows):,} rows, wanted {needed:,}")
    random = np.random.default_rng(0)
    train, indexed, others, _ = np.split(
        random.permutation(rows), np.cumsum([args.rows, args.indexed, args.asking])
    )
    asked = {
        name: (asking, top10(asking @ indexed.T))
        for name, asking in (("rows", others), ("queries", queries[: args.asking]))
    }
    with tempfile.TemporaryDirectory() as scratch:
        place = args.model or pathlib.Path(scratch) / "model"
        if not place.exists():
            arfc.Compressor.train(train, 96).save(place)
        for factory in args.factories.split(";"):
            directory = pathlib.Path(scratch) / "collection"
            with arfc.Collection.create(
                directory, rows.shape[1], "cosine", factory, arfc.Compressor.load(place)
            ) as collection:
                collection.upsert(np.arange(len(indexed)), indexed, wait=False)
                collection.optimize()
                info = collection.info()
                print(
                    f"{factory}: {info.points:,} rows of {rows.shape[1]} floats,"
                    f" {info.resident_radius_bytes / info.points:.0f} bytes of radii a row"
                )
                report(collection, factory, asked)
            for path in sorted(directory.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            directory.rmdir()


if __name__ == "__main__":
    main()
