#!/usr/bin/env python3
r"""What proofs and confidences cost, and how often they come true.

    .venv/bin/python benchmarks/certainty.py [--rows 10000] [--indexed 20000] [--asking 500] \
        [--data ROWS.npy QUERIES.npy]

The corpus is the demo's, the documentation of the installed Python, embedded with all-MiniLM-L6-v2
and cached as the demo's is: rows are sentences, queries those that docstrings begin with. --data
takes rows and queries of your own. --rows rows train a model of 96 bytes, --indexed others are put
into a collection for each factory string; --asking more rows and as many queries ask for their ten
nearest. A line tells, of each way to search: how many answers are exactly those of `exact`, how
many are certified and by what, and the code bytes read a query, also as a share of all there are.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import tempfile
import time

import arfc
import numpy as np
from nearest import Rows, top10, unit_rows
from numpy.typing import NDArray

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


def refuse_false_certificates(
    answer: arfc.SearchAnswer, exact: arfc.SearchAnswer, truth: NDArray[np.int64]
) -> None:
    """Ends the program where an answer is not what it says it is."""
    for i, word in enumerate(answer.certainty or []):
        is_exact = np.array_equal(answer.ids[i], exact.ids[i])
        is_true = set(answer.ids[i].tolist()) == set(truth[i].tolist())
        if (word in ("codes", "originals") and not is_exact) or (
            word == "originals" and not is_true
        ):
            raise SystemExit(f"The certificate of answer {i} is false: {word}")


def report(collection: arfc.Collection, queries: Rows, truth: NDArray[np.int64], name: str) -> None:
    """Prints a line for each way to ask."""
    info = collection.info()
    exact = collection.search(queries, K, exact=True)
    for way, options in WAYS:
        start = time.perf_counter()
        answer = collection.search(queries, K, **options)
        milliseconds = 1e3 * (time.perf_counter() - start) / len(queries)
        refuse_false_certificates(answer, exact, truth)
        same = np.mean([np.array_equal(*pair) for pair in zip(answer.ids, exact.ids, strict=True)])
        hits = [len(np.intersect1d(*pair)) / K for pair in zip(answer.ids, truth, strict=True)]
        certainty = answer.certainty or []
        shares = {word: certainty.count(word) / len(queries) for word in sorted(set(certainty))}
        read = [stage.bytes_read / len(queries) / 1e3 for stage in answer.stages]
        share = sum(read) * 1e3 / (info.points * info.code_bytes)
        print(
            f"  {name:8} {way:14} as exact {same:.3f}, recall@10 {np.mean(hits):.3f},"
            f" kB {sum(read):8.1f} ({share:.3f} of all; tails {sum(read[1:]):7.1f}),"
            f" {milliseconds:6.2f} ms, {shares}",
            flush=True,
        )


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
                    f" {info.resident_radius_bytes / info.points:.0f} bytes of radii a row",
                    flush=True,
                )
                for name, (asking, truth) in asked.items():
                    report(collection, asking, truth, name)
            shutil.rmtree(directory)


if __name__ == "__main__":
    main()
