#!/usr/bin/env python3
r"""Sets arfc beside other engines: recall, queries a second, latency and bytes a row.

    .venv/bin/pip install -r benchmarks/peers/requirements.txt
    .venv/bin/python benchmarks/search_latency.py --work FOLDER [--rows 1000000] \
        [--data ROWS.npy] [--queries 2000] [--engines arfc,hnswlib] [--builds REGEX] [--passes 5] \
        [--picture OUT.png]

--rows are indexed and --queries others ask. They are the rows of --data, in any order, or made by
million_rows.py. Recall@10 counts the ten rows of largest cosine, by the uncompressed rows.

Every build is made and opened in processes of its own, on one thread; each of --passes opens every
build in turn, asks it at every committed setting (peers/__init__.py) and ends, so that engines
alternate. Figures are medians of the passes:

  QPS   queries a second, all in one call, on one thread (by the processor's time, so that other
        programs disturb less) and on two (by wall time)
  p50, p99  microseconds of the processor's time for a query that is asked alone
  bytes a row  what the process grew by, resident memory that is no file's, after its searches, and
        the cached pages of the files that it reads; plus the disk that it needs to answer. Ids,
        graphs, codebooks, centroids and the model are in it. `structure` is what the engine's file
        holds, of collections what they say is resident.
  build  seconds of the processor's time; of arfc without encoding, too

FOLDER holds rows, indexes and results.jsonl: started again the program measures what is missing. A
Markdown report goes to the standard output. --quick is all of it, small.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import million_rows
import numpy as np
from nearest import nearest10
from peers import ENGINES
from peers.engine import list_count
from results import Results

BANDS = (60, 120, 400)
RECALL = 0.90
SEED = 0
TRAINING_ROWS = 50  # for each of the usual number of inverted lists
SINGLES = 100
RESAMPLES = 10_000


@dataclass(frozen=True)
class Cell:
    """What one line of the results is about."""

    digest: str
    """Of rows, queries and how many."""
    engine: str
    build: str
    step: int
    """0: building; else the pass."""
    searches: str = ""
    """What chose search settings; empty: all."""


@dataclass(frozen=True)
class Data:
    """Rows that are indexed, rows that ask, and who should answer."""

    rows: pathlib.Path
    count: int
    queries: pathlib.Path
    truth: pathlib.Path
    digest: str


@dataclass(frozen=True, eq=False)
class Point:
    """A build at one search setting."""

    engine: str
    build: str
    search: str
    recall: float
    hits: np.ndarray
    qps: float
    qps_two: float
    p50: float
    p99: float
    bytes_a_row: float
    memory: float
    """Of bytes_a_row."""
    structure: float


def prepared(args: argparse.Namespace) -> Data:
    """Makes rows, queries and truth where FOLDER lacks them."""
    total = args.rows + args.queries
    folder = args.work
    folder.mkdir(parents=True, exist_ok=True)
    rows = args.data or folder / f"rows-{total}.npy"
    if not rows.exists():
        real = million_rows.real_rows(None)
        million_rows.write(million_rows.Source.of(real), rows, total, SEED)
    every = np.load(rows, mmap_mode="r")
    if len(every) < total:
        raise SystemExit(f"Rows are too few: {len(every):,}, wanted {total:,}: {rows}")
    digest = hashlib.sha256(every[:total:997].tobytes() + str((args.rows, total)).encode())
    data = Data(
        rows,
        args.rows,
        folder / f"queries-{total}.npy",
        folder / f"truth-{total}.npy",
        digest.hexdigest()[:16],
    )
    if not data.truth.exists():
        np.save(data.queries, every[args.rows : total])
        np.save(data.truth, nearest10(np.load(data.queries), every[: args.rows]))
    return data


def in_process(request: dict[str, Any]) -> dict[str, Any]:
    """Runs a request in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "peers.process", json.dumps(request)],
        cwd=pathlib.Path(__file__).parent,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def folder_of(args: argparse.Namespace, engine: str, build: str) -> pathlib.Path:
    name = re.sub(r"[^A-Za-z0-9]+", "-", f"{engine} {build}")
    return args.work.resolve() / "builds" / f"{name}-{args.rows}"


def measure(data: Data, builds: list[tuple[str, str]], results: Results[Cell], args) -> None:
    """Builds what is not built and asks what was not asked."""
    for engine, build in builds:
        cell, folder = Cell(data.digest, engine, build, 0), folder_of(args, engine, build)
        if cell in results and folder.exists():
            continue
        request = {
            "task": "build",
            "engine": engine,
            "build": build,
            "rows": str(data.rows.resolve()),
            "count": data.count,
            "training": min(TRAINING_ROWS * (args.lists or list_count(data.count)), data.count),
            "folder": str(folder),
            "models": str(args.work.resolve() / f"models-{data.digest}"),
            "model_seconds": args.model_seconds,
        }
        value = in_process(request)
        print(f"built {engine} {build}: {value}", file=sys.stderr, flush=True)
        results.add(cell, value)
    for step in range(1, args.passes + 1):
        for engine, build in builds:
            cell = asking(data, engine, build, step, args)
            if cell in results:
                continue
            request = {
                "task": "measure",
                "engine": engine,
                "build": build,
                "folder": str(folder_of(args, engine, build)),
                "queries": str(data.queries.resolve()),
                "truth": str(data.truth.resolve()),
                "searches": chosen_searches(engine, build, args),
                "singles": min(SINGLES, args.queries),
                "with_hits": step == 1,
            }
            results.add(cell, in_process(request))
            print(f"pass {step}: {engine} {build}", file=sys.stderr, flush=True)


def points(data: Data, builds: list[tuple[str, str]], results: Results[Cell], args) -> list[Point]:
    """Returns the medians of what was measured, one a build and search setting."""
    found = []
    for engine, build in builds:
        values = [results[asking(data, engine, build, i + 1, args)] for i in range(args.passes)]
        memory = statistics.median(value["memory"] for value in values) / data.count
        for search, first in values[0]["searches"].items():
            each = [value["searches"][search] for value in values]
            hits = np.array([int(digit, 16) for digit in first["hits"]])
            found.append(
                Point(
                    engine,
                    build,
                    search,
                    recall=float(hits.mean() / 10),
                    hits=hits,
                    bytes_a_row=memory + values[0]["disk"] / data.count,
                    memory=memory,
                    structure=values[0]["structure"] / data.count,
                    **{
                        name: statistics.median(value[name] for value in each)
                        for name in ("qps", "qps_two", "p50", "p99")
                    },
                )
            )
    return found


def fastest(some: list[Point], recall: float) -> Point | None:
    """Returns the point of most queries a second of those that recall so much."""
    enough = [point for point in some if point.recall >= recall]
    return max(enough, key=lambda point: point.qps, default=None)


def is_ours(point: Point) -> bool:
    return point.engine.startswith("arfc")


def interval(ours: Point, theirs: Point) -> tuple[float, float, float]:
    """Returns the difference of recall with its paired 95 % bootstrap interval over queries."""
    differences = (ours.hits - theirs.hits) / 10
    random = np.random.default_rng(0)
    chosen = random.integers(len(differences), size=(RESAMPLES, len(differences)), dtype=np.int32)
    low, high = np.percentile(differences[chosen].mean(axis=1), [2.5, 97.5])
    return float(differences.mean()), float(low), float(high)


def row_of(point: Point) -> str:
    return (
        f"| {point.engine} | `{point.build}` | {point.search} | {point.recall:.4f}"
        f" | {point.qps:,.0f} | {point.qps_two:,.0f} | {point.p50:,.0f} | {point.p99:,.0f}"
        f" | {point.bytes_a_row:,.1f} | {point.memory:,.1f} | {point.structure:,.1f} |"
    )


HEADER = (
    "| engine | build | search | recall@10 | QPS | QPS, 2 threads | p50 us | p99 us | bytes a row"
    " | of which memory | structure |\n|---|---|---|---|---|---|---|---|---|---|---|"
)


def report_band(some: list[Point], limit: int) -> None:
    """Prints the best of each engine within so many bytes a row, and arfc beside the best rival."""
    within = [point for point in some if point.bytes_a_row <= limit]
    print(f"\n## At most {limit} bytes a row\n\n{HEADER}")
    for engine in ENGINES:
        of_engine = [point for point in within if point.engine == engine]
        if of_engine:
            best = max(of_engine, key=lambda point: (point.recall, point.qps))
            chosen = fastest(of_engine, RECALL)
            print("\n".join(row_of(point) for point in dict.fromkeys([best, chosen]) if point))
    ours = [point for point in within if is_ours(point)]
    theirs = [point for point in within if not is_ours(point)]
    if not ours or not theirs:
        print("\nOnly one side is in this band.")
        return
    level = min(RECALL, max(point.recall for point in theirs))
    a, b = fastest(ours, level), fastest(theirs, level)
    if a and b:
        print(
            f"\nAt recall@10 >= {level:.4f}: arfc {a.qps:,.0f} queries a second, best rival"
            f" ({b.engine}, {b.build}) {b.qps:,.0f}: {a.qps / b.qps:.2f} times."
        )
    else:
        print(f"\nNo build of arfc recalls {level:.4f} here.")
    a, b = (max(side, key=lambda point: point.recall) for side in (ours, theirs))
    mean, low, high = interval(a, b)
    print(
        f"Highest recall@10: arfc {a.recall:.4f}, best rival ({b.engine}, {b.build})"
        f" {b.recall:.4f}: {mean:+.4f} [{low:+.4f}, {high:+.4f}]."
    )


def report_builds(data: Data, builds: list[tuple[str, str]], results: Results[Cell]) -> None:
    print("\n## Building, seconds on one thread\n")
    print("| engine | build | train | add | encoding apart |\n|---|---|---|---|---|")
    for engine, build in builds:
        value = results[Cell(data.digest, engine, build, 0)]
        rest = value["train"] + value["add"] - value["encode"]
        print(
            f"| {engine} | `{build}` | {value['train']:,.0f} | {value['add']:,.0f} | {rest:,.0f} |"
        )


def draw(some: list[Point], path: pathlib.Path, title: str) -> None:
    """Draws recall against queries a second within each band that holds something, and of all:
    what no other setting of the engine beats in both.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    limits = [limit for limit in BANDS if any(point.bytes_a_row <= limit for point in some)]
    limits.append(math.inf)
    figure, panels = plt.subplots(
        1, len(limits), figsize=(6 * len(limits), 5), sharey=True, squeeze=False
    )
    names = list(ENGINES)
    for axis, limit in zip(panels[0], limits, strict=True):
        for number, engine in enumerate(names):
            of_engine = sorted(
                (p for p in some if p.engine == engine and p.bytes_a_row <= limit),
                key=lambda point: -point.recall,
            )
            front: list[Point] = []
            for point in of_engine:
                if not front or point.qps > front[-1].qps:
                    front.append(point)
            if front:
                axis.plot(
                    [point.recall for point in front],
                    [point.qps for point in front],
                    marker="o" if is_ours(front[0]) else ".",
                    linewidth=2.5 if is_ours(front[0]) else 1.2,
                    color=f"C{number}",
                    label=engine,
                )
        axis.set_yscale("log")
        axis.set_xlim(0.6, 1.0)
        axis.set_xlabel("recall@10")
        axis.set_title("any bytes" if limit == math.inf else f"at most {limit} bytes a row")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=8, loc="lower left")
    panels[0, 0].set_ylabel("queries a second, one thread")
    figure.suptitle(title)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def wanted_engines(text: str | None, parser: argparse.ArgumentParser) -> list[str]:
    names = list(ENGINES) if text is None else text.split(",")
    for name in names:
        if name not in ENGINES:
            parser.error(f"no such engine: {name!r}, expected some of {', '.join(ENGINES)}")
    return names


def asking(data: Data, engine: str, build: str, step: int, args: argparse.Namespace) -> Cell:
    """Returns the cell of a pass."""
    return Cell(data.digest, engine, build, step, args.searches.pattern if args.searches else "")


def chosen_searches(engine: str, build: str, args: argparse.Namespace) -> list[str]:
    searches = ENGINES[engine].searches(build)
    if args.searches:
        searches = [search for search in searches if args.searches.search(search)]
    return searches[:2] if args.quick else searches


def chosen_builds(engine: str, lists: int, args: argparse.Namespace) -> list[str]:
    builds = ENGINES[engine].builds(lists, args.model)
    if args.builds:
        builds = [build for build in builds if args.builds.search(build)]
    return builds[:1] if args.quick else builds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=pathlib.Path, required=True, help="folder to work in")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--data", type=pathlib.Path, help="[n, d] unit rows (.npy)")
    parser.add_argument("--engines", help="names, separated by commas; default: all")
    parser.add_argument("--lists", type=int, help="inverted lists; default: about 4 sqrt(rows)")
    parser.add_argument("--builds", type=re.compile, help="only those that this expression finds")
    parser.add_argument(
        "--searches", type=re.compile, help="only search settings that this expression finds"
    )
    parser.add_argument("--passes", type=int, default=5)
    parser.add_argument(
        "--model",
        default="ready",
        help="of arfc's: ready, which is for all-MiniLM-L6-v2, or code bytes to train one, 96c a"
        " compact one (default: ready)",
    )
    parser.add_argument(
        "--model-seconds", type=float, default=900, help="budget of training a model of arfc's"
    )
    parser.add_argument("--quick", action="store_true", help="all of it, small")
    parser.add_argument("--picture", type=pathlib.Path)
    args = parser.parse_args()
    engines = wanted_engines(args.engines, parser)
    if args.quick:
        args.rows, args.queries, args.passes, args.model_seconds = 2_000, 100, 1, 2.0
    data = prepared(args)
    lists = args.lists or list_count(args.rows)
    builds = [(engine, build) for engine in engines for build in chosen_builds(engine, lists, args)]
    results = Results(args.work / "results.jsonl", Cell)
    measure(data, builds, results, args)
    print(f"{args.rows:,} rows, {args.queries:,} queries, median of {args.passes} passes")
    found = points(data, builds, results, args)
    for limit in BANDS:
        report_band(found, limit)
    report_builds(data, builds, results)
    if args.picture:
        draw(found, args.picture, f"{args.rows:,} rows")


if __name__ == "__main__":
    main()
