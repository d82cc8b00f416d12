#!/usr/bin/env python3
r"""Compares compressed features by what they are used for: probes, retrieval, judged retrieval.

    .venv/bin/python benchmarks/paper_protocol.py --data cifar10=features/cifar10 \
        --data flickr30k=features/flickr30k --results results.jsonl

--data NAME=PATH names a data set of `arfc.datasets` (or a kind of them, as KIND:TITLE=PATH, for a
set that it does not know) and the folder or .npz file with its features. Every cell (data set,
method, ratio, seed) that is finished goes to --results as one line; started again with the same
file, the program measures what is missing. Tables go to the standard output as Markdown: each
measure's mean, and 95 % intervals of a paired bootstrap against the uncompressed features and
against the best compressed ones of the same ratio. docs/paper_protocol.md says what the measures
are and how the methods were tuned.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import math
import pathlib
import sys
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
from arfc import datasets, protocol
from arfc.baselines import kept_dims
from arfc.errors import ArfcError, InvalidArgumentError, UnsupportedError
from numpy.typing import NDArray
from results import Results

RATIOS = (0.5, 0.75, 0.9, 0.95)
VERSION = 1  # of a line's meaning; lines of another one are not used


Outcomes = dict[tuple[float, str], NDArray[np.float64] | None]
"""(ratio, method) -> a measure's items; None where the method lacks the measure."""


@dataclass(frozen=True)
class Cell:
    """What one line of the results is about; equal cells have equal conditions."""

    version: int
    data: str
    """Its name or kind and title."""
    digest: str
    """Of every array of the data set, cut as they were used."""
    method: str
    ratio: float
    """Share of bytes removed; 0 for the uncompressed."""
    seed: int
    seconds: float | None
    ratios: int
    """How many sizes shared a single model's time; 0 where each has its own fit."""
    probe: str


def packed(outcomes: NDArray[np.float64]) -> str:
    """Returns outcomes [items] as text: float32, deflated, base64."""
    return base64.b64encode(zlib.compress(outcomes.astype("<f4").tobytes())).decode()


def unpacked(text: str) -> NDArray[np.float64]:
    """Returns what `packed` packed."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), "<f4").astype(np.float64)


def digest_of(data: datasets.Features) -> str:
    """Returns 16 hexadecimal digits of everything that measuring sees of a data set."""
    digest = hashlib.sha256()
    for field in fields(data):
        value = getattr(data, field.name)
        if isinstance(value, np.ndarray):
            digest.update(f"{field.name} {value.dtype} {value.shape}".encode())
            for first in range(0, len(value), 8_192):
                digest.update(np.ascontiguousarray(value[first : first + 8_192]).data)
        elif field.name != "name":
            digest.update(f"{field.name} {value!r}".encode())
    return digest.hexdigest()[:16]


def read_data(argument: str, most_rows: int | None) -> tuple[str, datasets.Features]:
    """Reads NAME=PATH or KIND:TITLE=PATH; returns how tables call it, and its features.

    most_rows  Training rows to keep, drawn at random; None: all.

    Raises InvalidArgumentError and what `arfc.datasets.load` raises.
    """
    name, separator, path = argument.partition("=")
    if not separator or not name or not path:
        raise InvalidArgumentError(f"Data are given as NAME=PATH: {argument!r}")
    known, _, title = name.partition(":")
    data = datasets.load(known, path)
    if most_rows is not None and len(data.train) > most_rows:
        drawn = np.sort(np.random.default_rng(0).permutation(len(data.train))[:most_rows])
        changes: dict[str, Any] = {"train": np.ascontiguousarray(data.train[drawn])}
        if isinstance(data, datasets.Classification | datasets.MultiLabel):
            changes["train_labels"] = data.train_labels[drawn]
        data = replace(data, **changes)
    row = datasets.DATASETS.get(known)
    return title or (row.title if row else known), data


def cells_of(
    title: str, digest: str, method: str, args: argparse.Namespace, seed: int
) -> list[Cell]:
    """Returns a method's cells on a data set, one a ratio."""
    shared = protocol.METHODS[method]().one_model
    cell = Cell(
        VERSION,
        title,
        digest,
        method,
        0.0,
        seed,
        args.seconds,
        len(args.ratios) if shared else 0,
        args.probe,
    )
    if method == "uncompressed":
        return [replace(cell, seconds=None)]
    return [replace(cell, ratio=ratio) for ratio in args.ratios]


def measure(
    data: datasets.Features, cells: Sequence[Cell], results: Results[Cell], args: argparse.Namespace
) -> None:
    """Measures those of a method's cells that are missing, and writes each down."""
    method = protocol.METHODS[cells[0].method]()
    missing = [cell for cell in cells if cell not in results]
    if missing and method.one_model:
        missing = list(cells)  # cells of two models would not be one model's
    if not missing:
        return
    method.prepare(data.train, len(args.ratios), args.seconds, cells[0].seed)
    for cell in missing:
        started = time.perf_counter()
        dim = data.train.shape[1]
        try:
            compressed = method.at(kept_dims(dim, cell.ratio))
        except UnsupportedError as error:
            results.add(cell, {"left_out": str(error)})
            print(f"{cell.data}, {cell.method}, {percent(cell.ratio)}: {error}", file=sys.stderr)
            continue
        outcomes = protocol.outcomes(data, compressed, cell.probe, cell.seed)
        results.add(
            cell,
            {
                "outcomes": {name: packed(values) for name, values in outcomes.items()},
                "dim": dim,
                "train_rows": len(data.train),
                "trained_on_test": getattr(data, "trained_on_test", False),
                "bytes_per_row": compressed.bytes_per_row,
                "model_bytes": compressed.model_bytes,
                "fit_seconds": compressed.seconds,
                "model_id": compressed.model_id,
                "report": None if compressed.report is None else asdict(compressed.report),
            },
        )
        first = next(iter(outcomes))
        print(
            f"{cell.data}, {cell.method}, {percent(cell.ratio)} removed, seed {cell.seed}:"
            f" {first} {np.nanmean(outcomes[first]):.4f},"
            f" {time.perf_counter() - started:.0f} s",
            file=sys.stderr,
            flush=True,
        )


def mean_outcomes(values: Sequence[dict[str, Any]], name: str) -> NDArray[np.float64] | None:
    """Returns a measure's items as means over seeds; None where a value lacks the measure."""
    if any(name not in value.get("outcomes", {}) for value in values):
        return None
    return np.mean([unpacked(value["outcomes"][name]) for value in values], axis=0)


def percent(share: float) -> str:
    """Returns a share as tables write it."""
    return f"{100 * share:g} %"


def signed(interval: protocol.Interval) -> str:
    """Returns a difference and its interval, in points."""
    return f"{100 * interval.mean:+.1f} [{100 * interval.low:+.1f}, {100 * interval.high:+.1f}]"


def measures_of(rows: dict[tuple[float, str], list[dict[str, Any]]]) -> list[str]:
    """Returns the names of what was measured of a data set, each once."""
    return list(
        dict.fromkeys(name for values in rows.values() for name in values[0].get("outcomes", {}))
    )


def best(outcomes: Outcomes, ratio: float, but: str = "") -> str | None:
    """Returns the method, other than `but`, of the largest mean at a ratio; None: there is none."""
    means = {
        method: float(np.nanmean(items))
        for (at, method), items in outcomes.items()
        if at == ratio and method != but and items is not None
    }
    return max(means, key=lambda method: means[method]) if means else None


def table(rows: dict[tuple[float, str], list[dict[str, Any]]], name: str) -> Iterator[str]:
    """Yields one measure's table of a data set.

    rows  (ratio, method) -> the values of its seeds, in the tables' order.
    """
    outcomes = {key: mean_outcomes(values, name) for key, values in rows.items()}
    reference = outcomes.get((0.0, "uncompressed"))
    yield f"| removed | method | bytes a row | {name} | against uncompressed | against the best |"
    yield "|---|---|---|---|---|---|"
    best_of = {ratio: best(outcomes, ratio) for ratio in {ratio for ratio, _ in rows if ratio > 0}}
    for (ratio, method), items in outcomes.items():
        value = rows[ratio, method][0]
        if "left_out" in value:
            yield f"| {percent(ratio)} | {method} | - | left out: {value['left_out']} | | |"
            continue
        if items is None:
            continue
        shown = f"{100 * np.nanmean(items):.1f}"
        plain = to_best = ""
        if ratio > 0:
            if reference is not None:
                plain = signed(protocol.paired_interval(items, reference))
            if method == best_of[ratio]:
                shown, to_best = f"**{shown}**", "best"
            else:
                to_best = signed(protocol.paired_interval(items, outcomes[ratio, best_of[ratio]]))
        yield (
            f"| {percent(ratio)} | {method} |"
            f" {value['bytes_per_row']:,} | {shown} | {plain} | {to_best} |"
        )


def tuning_log(rows: dict[tuple[float, str], list[dict[str, Any]]]) -> Iterator[str]:
    """Yields what the baselines tried, the first seed's."""
    yield "| removed | method | measure | start | trials: held-out measure (steps) | kept |"
    yield "|---|---|---|---|---|---|"
    for (ratio, method), values in rows.items():
        report = values[0].get("report")
        if report is None:
            continue
        trials = "; ".join(
            ", ".join(f"{name} {value}" for name, value in trial["settings"].items())
            + f": {trial['held_out']:.4f}"
            + (f" ({trial['steps']})" if trial["steps"] else "")
            for trial in report["trials"]
        )
        yield (
            f"| {percent(ratio)} | {method} | {report['measure']} | {report['start']:.4f} |"
            f" {trials} |"
            f" {report['held_out']:.4f} |"
        )


def summary(
    title: str, rows: dict[tuple[float, str], list[dict[str, Any]]], of: str
) -> Iterator[str]:
    """Yields a data set's lines of the table that sets one method beside the best of the others.

    of  The method; where it was not measured, there are no lines.
    """
    for name in measures_of(rows):
        if not name.startswith(("accuracy", "mAP", "recall@1 ", "nDCG")):
            continue
        outcomes = {key: mean_outcomes(values, name) for key, values in rows.items()}
        reference = outcomes.get((0.0, "uncompressed"))
        for ratio in sorted({ratio for ratio, _ in rows if ratio > 0}):
            own = outcomes.get((ratio, of))
            other = best(outcomes, ratio, but=of)
            if own is None or other is None:
                continue
            others = outcomes[ratio, other]
            shown = [
                title,
                name,
                percent(ratio),
                "" if reference is None else f"{100 * np.nanmean(reference):.1f}",
                f"{100 * np.nanmean(own):.1f}",
                f"{other} {100 * np.nanmean(others):.1f}",
                signed(protocol.paired_interval(own, others)),
                "" if reference is None else signed(protocol.paired_interval(own, reference)),
            ]
            yield "| " + " | ".join(shown) + " |"


def report_on(
    title: str,
    data: datasets.Features,
    rows: dict[tuple[float, str], list[dict[str, Any]]],
    args: argparse.Namespace,
) -> None:
    """Prints a data set's tables."""
    names = measures_of(rows)
    probed = datasets.Classification | datasets.MultiLabel
    on_test = " (those that are searched)" if getattr(data, "trained_on_test", False) else ""
    print(
        f"\n## {title}\n\n{len(data.train):,} rows of {data.train.shape[1]} floats{on_test}"
        f" learned from, seed {', '.join(map(str, args.seeds))}, "
        + ("no time budget" if args.seconds is None else f"{args.seconds:g} s a fit")
        + (f", probe {args.probe}" if isinstance(data, probed) else "")
        + ". Values in per cent; differences in points with 95 % intervals."
    )
    for name in names:
        print(f"\n### {name}\n")
        print("\n".join(table(rows, name)))
    if args.tuning_log:
        print("\n### What the baselines tried\n")
        print("\n".join(tuning_log(rows)))


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line; exits with 2 where it is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", action="append", required=True, metavar="NAME=PATH")
    parser.add_argument("--results", type=pathlib.Path, required=True, help="JSON lines; resumed")
    parser.add_argument(
        "--methods",
        default="uncompressed,pca,autoencoder,q_former,quantization,arfc,arfc_codes",
        help=f"of {', '.join(protocol.METHODS)}",
    )
    parser.add_argument("--ratios", default=",".join(map(str, RATIOS)), help="shares removed")
    parser.add_argument("--seeds", default="0")
    parser.add_argument(
        "--seconds", type=float, default=60.0, help="a fit's budget; 0: the methods' own"
    )
    parser.add_argument("--probe", default="logistic", choices=protocol.PROBES)
    parser.add_argument("--train-rows", type=int, default=None, help="at most, drawn at random")
    parser.add_argument("--tuning-log", action="store_true", help="print what baselines tried")
    parser.add_argument("--summary", metavar="METHOD", help="end with it beside the best other")
    args = parser.parse_args(argv)
    args.methods = args.methods.split(",")
    unknown = [name for name in args.methods if name not in protocol.METHODS]
    if args.summary and args.summary not in args.methods:
        parser.error(f"method of the summary is not measured: {args.summary!r}")
    if unknown:
        parser.error(f"method is not known: {unknown[0]!r}, expected {', '.join(protocol.METHODS)}")
    try:
        args.ratios = [float(ratio) for ratio in args.ratios.split(",")]
        args.seeds = [int(seed) for seed in args.seeds.split(",")]
    except ValueError as error:
        parser.error(f"ratios and seeds are numbers between commas: {error}")
    if not all(0 < ratio < 1 for ratio in args.ratios):
        parser.error(f"ratios are shares of bytes removed in (0, 1): {args.ratios}")
    if not math.isfinite(args.seconds) or args.seconds < 0:
        parser.error(f"seconds are a number, at least 0: {args.seconds}")
    if args.train_rows is not None and args.train_rows < 20:
        parser.error(f"at least 20 training rows are needed: {args.train_rows}")
    args.seconds = args.seconds or None
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = arguments(argv)
    try:
        results = Results(args.results, Cell)
        methods = []
        summaries: list[str] = []
        for method in args.methods:
            reason = protocol.METHODS[method]().left_out()
            if reason is None:
                methods.append(method)
            else:
                print(f"{method} is left out: {reason}", flush=True)
        for argument in args.data:
            title, data = read_data(argument, args.train_rows)
            digest = digest_of(data)
            rows: dict[tuple[float, str], list[dict[str, Any]]] = {}
            for method in methods:
                for seed in args.seeds:
                    cells = cells_of(title, digest, method, args, seed)
                    measure(data, cells, results, args)
                    for cell in cells:
                        rows.setdefault((cell.ratio, method), []).append(results[cell])
            by_ratio = sorted(rows.items(), key=lambda item: item[0][0])
            report_on(title, data, dict(by_ratio), args)
            if args.summary:
                summaries += summary(title, dict(by_ratio), args.summary)
        if args.summary:
            print(f"\n## {args.summary} beside the best of the others\n")
            print(
                f"| data | measure | removed | uncompressed | {args.summary} | best other |"
                " against it | against uncompressed |"
            )
            print("|---" * 8 + "|")
            print("\n".join(summaries))
    except ArfcError as error:
        print(f"paper_protocol: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
