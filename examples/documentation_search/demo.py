#!/usr/bin/env python3
"""Searches the installed Python's documentation by meaning, and measures what short codes cost.

    make demo                                           24,000 docstrings
    make demo ARGS=--quick                              3,000
    make demo ARGS="--input my.npy --texts my.jsonl"    your own embeddings, and a text for each
    make demo ARGS=--compare                            beside codebooks that only clustering made

Everything printed is measured in this run; only embeddings are kept between runs.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import math
import os
import pathlib
import platform
import random
import shutil
import sys
import time

import arfc
import data as data_module
import measure
import numpy as np
import picture
from arfc import evaluate
from data import Data
from measure import CurvePoint, Way
from program import Client, ProgramError, Server, find_program, run

FULL_LIMIT, QUICK_LIMIT = 24_000, 3_000
CODE_BYTES, PREFIX_BYTES = 96, 16
QUESTIONS_SHOWN, ANSWERS_SHOWN = 6, 3
MEBIBYTE = 1 << 20


class ProgressBar:
    """One line on a terminal that tells how far a step has come; elsewhere a line now and then."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._started: dict[str, float] = {}
        self._shown = 0.0

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        started = self._started.setdefault(name, now)
        finished = done >= total
        if not finished and now - self._shown < (0.1 if self._terminal else 20):
            return
        self._shown = now
        elapsed = now - started
        left = f", {elapsed * (total - done) / done:.0f} s left" if done and not finished else ""
        filled = 24 * done // max(total, 1)
        bar = f"[{'#' * filled}{'.' * (24 - filled)}] {done:,} of {total:,}, {elapsed:.0f} s{left}"
        if self._terminal:
            end = "\n" if finished else ""
            print(f"\r\033[K{name} {bar}", end=end, file=sys.stderr, flush=True)
        else:
            print(f"{name} {bar}", file=sys.stderr, flush=True)
        if finished:
            del self._started[name]


@dataclasses.dataclass(frozen=True)
class Kept:
    """One way of keeping the rows: a collection of the demo."""

    title: str
    name: str  # of the collection
    factory: str | None  # None: float32


def ways_to_keep(rows: int, dim: int) -> list[Kept]:
    """Returns the four ways of the table, for so many rows of that width."""
    # Twice the square root balances lists to choose from against rows to scan.
    lists = min(256, 2 ** int(math.log2(2 * math.sqrt(rows))))
    full = min(CODE_BYTES, 4 * dim)
    prefix = min(PREFIX_BYTES, full // 2)
    half = full // 2
    kept = [
        Kept("float32", "float32", None),
        Kept(f"{full}/{prefix}", f"arfc-{full}", f"ARFC{full}/{prefix},IVF{lists}"),
    ]
    if prefix < half:
        kept.append(Kept(f"{half}/{prefix}", f"arfc-{half}", f"ARFC{half}/{prefix},IVF{lists}"))
    kept.append(Kept(f"{prefix}", f"arfc-{prefix}", f"ARFC{prefix},IVF{lists}"))
    return kept


class Workshop:
    """The folder of the demo's files, and the program that makes collections of them."""

    def __init__(self, folder: pathlib.Path, data: Data) -> None:
        """Takes the place of an earlier run's collections; other files in the folder stay."""
        self._program = find_program()
        self.folder = folder
        self.collections = folder / "collections"
        self.model = folder / "model"
        self._rows = folder / "rows.npy"
        self._payloads = folder / "payloads.jsonl"
        self.plain_model = folder / "model-without-relations"
        for old in (self.collections, self.model, self.plain_model):
            shutil.rmtree(old, ignore_errors=True)
        self.collections.mkdir(parents=True)
        np.save(self._rows, data.rows)
        with open(self._payloads, "w", encoding="utf-8") as lines:
            lines.writelines(json.dumps(payload) + "\n" for payload in data.payloads)

    def train(self, code_bytes: int, seed: int, relations: bool = True) -> None:
        """Learns the model that every compressed collection uses, or one without relations."""
        run(
            self._program, "train", self._rows,
            "--output", self.model if relations else self.plain_model,
            "--bytes", str(code_bytes), "--metric", "cosine", "--seed", str(seed),
            *([] if relations else ["--no-relations"]),
        )  # fmt: skip

    def ingest(self, kept: Kept) -> None:
        """Makes a collection of the rows, by the program."""
        coded = [] if kept.factory is None else ["--model", self.model, "--factory", kept.factory]
        run(
            self._program, "ingest", self._rows, "--payloads", self._payloads, "--create",
            "--collection", self.collections / kept.name, "--metric", "cosine", *coded,
        )  # fmt: skip

    def serve(self) -> Server:
        """Serves the collections, which no process has open, from a new one."""
        return Server(self._program, self.collections)

    def describe(self, kept: Kept) -> arfc.CollectionInfo:
        """Opens a collection once more and asks it for its sizes."""
        with arfc.Collection.open(self.collections / kept.name, read_only=True) as collection:
            return collection.info()


def load(arguments: argparse.Namespace, bar: ProgressBar) -> Data:
    """Reads the user's input, or collects and embeds the documentation."""
    if arguments.input:
        return data_module.own(arguments.input, arguments.texts, arguments.seed)
    limit = QUICK_LIMIT if arguments.quick else FULL_LIMIT
    if arguments.limit is not None:
        limit = arguments.limit or None
    return data_module.documentation(limit, arguments.seed, bar)


def show_questions(data: Data, client: Client, kept: Kept, seed: int) -> None:
    """Prints a few questions with their best answers, as the server gives them."""
    marked = "; * marks the text that the question belongs to" if data.answers else ""
    print(f"\nQuestions drawn by seed {seed}, answered from {kept.title} bytes over REST{marked}")
    drawn = random.Random(seed).sample(
        range(len(data.queries)), min(QUESTIONS_SHOWN, len(data.queries))
    )
    for i in drawn:
        print(f"\n  {data.query_texts[i][:96]}")
        for hit in client.query(kept.name, data.queries[i], ANSWERS_SHOWN, with_payload=True):
            right = "*" if data.answers and hit["id"] == data.answers[i] else " "
            print(f"  {right} {hit['score']:.3f}  {hit['payload']['name']}")
            print(f"           {hit['payload']['text'][:88]}")


def measure_way(kept, data, truth, client, workshop_info, bar) -> Way:
    """Asks the server every query of one collection, and adds up its sizes."""
    found, p50 = measure.ask_all(
        lambda query: [hit["id"] for hit in client.query(kept.name, query)],
        data.queries,
        lambda done, total: bar(f"Asking {kept.title}", done, total),
    )
    info = workshop_info
    resident_once = info.stage_bytes[0] if info.code_bytes else 4 * info.dim
    parts = resident_once * info.points + info.resident_id_bytes + info.resident_norm_bytes
    return Way(
        name=kept.title,
        code_bytes=float(info.code_bytes or 4 * info.dim),
        id_bytes=info.resident_id_bytes / info.points,
        norm_bytes=info.resident_norm_bytes / info.points,
        list_bytes=(info.resident_bytes - parts) / info.points,
        model_share_bytes=info.model_bytes / info.points,
        memory_bytes=info.resident_bytes + info.model_bytes,
        disk_bytes=info.disk_bytes,
        quality=measure.judge(found, truth, data.answers),
        p50_ms=p50,
    )


HEADER = (
    "rows kept as", "codes", "ids", "norms", "lists", "model", "bytes/row",
    "memory MiB", "disk MiB", "recall@10", "nDCG@10", "R@1", "p50 ms",
)  # fmt: skip


def table(ways: list[Way]) -> str:
    """Returns the ways as a table of text."""
    lines = [HEADER]
    for way in ways:
        parts = (
            way.code_bytes,
            way.id_bytes,
            way.norm_bytes,
            way.list_bytes,
            way.model_share_bytes,
        )
        quality = (way.quality.ndcg_at_10, way.quality.right_at_1)
        lines.append(
            (
                way.name,
                *(f"{part:,.1f}" for part in (*parts, sum(parts))),
                f"{way.memory_bytes / MEBIBYTE:.2f}",
                f"{way.disk_bytes / MEBIBYTE:.2f}",
                f"{way.quality.recall_at_10:.3f}",
                *("-" if value is None else f"{value:.3f}" for value in quality),
                f"{way.p50_ms:.2f}",
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(HEADER))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def comparison(plain: list[CurvePoint], tuned: list[CurvePoint]) -> str:
    """Returns the lengths of two models as a table of text."""
    lines = [
        f"{'':>10}  {'clustering only':>17}  {'with relations':>17}",
        f"{'bytes/code':>10}  {'recall@10':>9} {'nDCG@10':>7}  {'recall@10':>9} {'nDCG@10':>7}",
    ]
    for before, after in zip(plain, tuned, strict=True):
        cells = [f"{before.bytes:>10}"]
        for quality in (before.quality, after.quality):
            ndcg = "-" if quality.ndcg_at_10 is None else f"{quality.ndcg_at_10:.3f}"
            cells.append(f"{quality.recall_at_10:>9.3f} {ndcg:>7}")
        lines.append("  ".join(cells))
    return "\n".join(lines)


def legend(
    data: Data, ways: list[Way], infos: list[arfc.CollectionInfo], points: list[CurvePoint]
) -> str:
    """Returns what the table's columns mean, and what the index costs in quality."""
    payload = sum(len(json.dumps(payload)) for payload in data.payloads) / MEBIBYTE
    loss = points[-1].quality.recall_at_10 - ways[1].quality.recall_at_10
    return (
        "codes .. bytes/row: bytes per row; codes beyond the prefix lie on disk, the rest in"
        f" memory.\nlists: centroids, row numbers, and prefixes of rows that are in several lists."
        f"\ndisk: the whole directory, its {payload:.1f} MiB of texts included."
        "\nrecall@10: of the ten exact nearest by float32. p50: one query over REST on the"
        " loopback, one client."
        + ("" if data.answers is None else "\nnDCG@10, R@1: a first line finds its text's rest.")
        + f"\nBy scanning {infos[1].default_nprobe} of {infos[1].nlist} lists, the collection's"
        f" default, {ways[1].name} loses {loss:.3f} recall@10 against exhaustive search by"
        f" {points[-1].bytes} bytes ({points[-1].quality.recall_at_10:.3f})."
    )


def machine() -> str:
    """Returns where the figures were measured, in words."""
    return (
        f"{os.cpu_count()} cores of {platform.machine()}, Python {platform.python_version()},"
        f" arfc {arfc.__version__}, {datetime.date.today().isoformat()}"
    )


def tell(arguments: argparse.Namespace) -> None:
    """Runs the whole story."""
    bar = ProgressBar()
    started = time.monotonic()
    data = load(arguments, bar)
    rows, dim = data.rows.shape
    print(f"{rows:,} rows of {dim} floats, {len(data.queries):,} queries: {data.title}")
    truth = evaluate.exact(data.queries, data.rows, measure.K)

    folder = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    workshop = Workshop(folder, data)
    kept = ways_to_keep(rows, dim)
    workshop.train(min(CODE_BYTES, 4 * dim), arguments.seed)
    for one in kept:
        workshop.ingest(one)
    infos = [workshop.describe(one) for one in kept]
    with workshop.serve() as server:
        client = Client(server.url)
        show_questions(data, client, kept[1], arguments.seed)
        print()
        ways = [
            measure_way(one, data, truth, client, info, bar)
            for one, info in zip(kept, infos, strict=True)
        ]
        client.close()
    model = arfc.Compressor.load(workshop.model)
    points = measure.curve(model, data, truth, lambda *step: bar("Measuring lengths", *step))
    advice = measure.recommend(points, ways[0].quality, dim)

    text = f"{table(ways)}\n\n{legend(data, ways, infos, points)}\n"
    if arguments.compare:
        workshop.train(min(CODE_BYTES, 4 * dim), arguments.seed, relations=False)
        plain = arfc.Compressor.load(workshop.plain_model)
        before = measure.curve(plain, data, truth, lambda *step: bar("Measuring lengths", *step))
        text += "\nExhaustive search by prefixes of two models of the same rows:\n"
        text += f"{comparison(before, points)}\n"
    text += f"{rows:,} rows, {machine()}"
    (folder / "table.txt").write_text(text + "\n", encoding="utf-8")
    (folder / "results.json").write_text(results(data, ways, points, advice), encoding="utf-8")
    picture.draw(folder / "recall.png", data.title, rows, dim, points, ways)
    print(f"\n{text}\n\nPicture: {folder / 'recall.png'}")
    print(f"The same as JSON: {folder / 'results.json'}")
    print(f"\nRecommended for this data: {advice}")
    print(f"Done in {time.monotonic() - started:.0f} s.")


def results(data: Data, ways: list[Way], points: list[CurvePoint], advice: str) -> str:
    """Returns everything that was measured as JSON text."""
    return json.dumps(
        {
            "title": data.title,
            "rows": len(data.rows),
            "dim": data.rows.shape[1],
            "queries": len(data.queries),
            "measured_on": machine(),
            "ways": [dataclasses.asdict(way) for way in ways],
            "curve": [dataclasses.asdict(point) for point in points],
            "recommendation": advice,
        },
        indent=2,
    )


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    quick = f"{QUICK_LIMIT:,} documents instead of {FULL_LIMIT:,}"
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--limit", type=int, help="documents to draw; 0: all that are found")
    compare = "train once more without relations, and print both models' recall"
    parser.add_argument("--compare", action="store_true", help=compare)
    own = "your own embeddings: .npy [rows, dim] of floats"
    parser.add_argument("--input", type=pathlib.Path, help=own)
    texts = 'a text for each row: .jsonl of strings or of {"text": ...}'
    parser.add_argument("--texts", type=pathlib.Path, help=texts)
    seed = "draws documents, questions and the model's start"
    parser.add_argument("--seed", type=int, default=0, help=seed)
    output = pathlib.Path("demo-output")
    parser.add_argument("--output", type=pathlib.Path, default=output, help="folder of the results")
    arguments = parser.parse_args()
    if arguments.texts and not arguments.input:
        parser.error("--texts needs --input")
    if arguments.limit is not None and arguments.limit < 0:
        parser.error(f"--limit must be 0 or more: {arguments.limit}")
    if arguments.seed < 0:
        parser.error(f"--seed must be 0 or more: {arguments.seed}")
    return arguments


def main() -> int:
    """Runs the demo; an error that has a sentence ends it with that sentence."""
    arguments = parse_arguments()
    try:
        tell(arguments)
    except (data_module.InputError, ProgramError, arfc.ArfcError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: Interrupted; what was embedded is kept for the next run", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
