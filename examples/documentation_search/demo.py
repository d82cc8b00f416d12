#!/usr/bin/env python3
"""Searches the documentation of the Python that is installed, by meaning, and measures what short codes cost.

    make demo                                           24,000 docstrings
    make demo ARGS=--quick                              3,000
    make demo ARGS="--input my.npy --texts my.jsonl"    your own embeddings [rows, dim], and a text for each

Everything printed is measured in this run; only embeddings are kept between runs.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


FULL_LIMIT, QUICK_LIMIT = 24_000, 3_000
QUESTIONS_SHOWN, ANSWERS_SHOWN = 6, 3
MEBIBYTE = 1 << 20


class ProgressBar:
    """One line on a terminal that tells how far a step has come; lines of text, rarely, elsewhere."""

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
            print(
                f"\r\033[K{name} {bar}", end="\n" if finished else "", file=sys.stderr, flush=True
            )
        else:
            print(f"{name} {bar}", file=sys.stderr, flush=True)
        if finished:
            del self._started[name]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"{QUICK_LIMIT:,} documents instead of {FULL_LIMIT:,}"
    )
    parser.add_argument("--limit", type=int, help="documents to draw; 0: all that are found")
    parser.add_argument(
        "--input", type=pathlib.Path, help="your own embeddings: .npy [rows, dim] of floats"
    )
    parser.add_argument(
        "--texts", type=pathlib.Path, help='a text for each row: .jsonl of strings or {"text": ...}'
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="draws documents, questions and the model's start"
    )
    parser.add_argument(
        "--output",
        type=pathlib.Path,
        default=pathlib.Path("demo-output"),
        help="folder of the results",
    )
    arguments = parser.parse_args()
    if arguments.texts and not arguments.input:
        parser.error("--texts needs --input")
    if arguments.limit is not None and arguments.limit < 0:
        parser.error(f"--limit must be 0 or more: {arguments.limit}")
    return arguments


def lists_for(rows: int) -> int:
    """Returns how many inverted lists suit: the power of two at or below 2 * sqrt(rows), at most 256."""
    return min(256, 2 ** int(math.log2(2 * math.sqrt(rows))))


def load(arguments: argparse.Namespace, bar: ProgressBar) -> Data:
    if arguments.input:
        return data_module.own(arguments.input, arguments.texts, arguments.seed)
    limit = QUICK_LIMIT if arguments.quick else FULL_LIMIT
    if arguments.limit is not None:
        limit = arguments.limit or None
    return data_module.documentation(limit, arguments.seed, bar)


class Workshop:
    """The folder where the demo's collections live, and the program that makes them."""

    def __init__(self, folder: pathlib.Path, data: Data, seed: int) -> None:
        self._program = program_module.find_program()
        self._data = data
        self._seed = seed
        self.collections = folder / "collections"
        self.model = folder / "model"
        self._rows = folder / "rows.npy"
        self._payloads = folder / "payloads.jsonl"
        for old in (self.collections, self.model):
            shutil.rmtree(old, ignore_errors=True)
        self.collections.mkdir(parents=True)
        np.save(self._rows, data.rows)
        with open(self._payloads, "w", encoding="utf-8") as lines:
            for payload in data.payloads:
                lines.write(json.dumps(payload) + "\n")

    def train(self, code_bytes: int) -> None:
        """Learns the model that every compressed collection shares."""
        program_module.run(
            self._program, "train", self._rows, "--output", self.model, "--bytes", str(code_bytes),
            "--metric", "cosine", "--seed", str(self._seed),
        )

    def ingest(self, name: str, factory: str | None) -> None:
        """Makes a collection; without a factory its rows stay float32."""
        model = [] if factory is None else ["--model", self.model, "--factory", factory]
        program_module.run(
            self._program, "ingest", self._rows, "--collection", self.collections / name,
            "--metric", "cosine", "--payloads", self._payloads, *model,
        )

    def serve(self) -> program_module.Server:
        """Serves the collections from a new process."""
        return program_module.Server(self._program, self.collections)


def show_questions(data: Data, client: program_module.Client, collection: str, seed: int) -> None:
    """Prints a few questions with their best answers, as the server gives them."""
    print(f"\n{QUESTIONS_SHOWN} questions drawn by seed {seed}, with their {ANSWERS_SHOWN} best answers; * marks the right one")
    for i in random.Random(seed).sample(range(len(data.queries)), min(QUESTIONS_SHOWN, len(data.queries))):
        print(f"\n  {data.query_texts[i]}")
        hits = client.query(collection, data.queries[i], ANSWERS_SHOWN, with_payload=True)
        for rank, hit in enumerate(hits, start=1):
            right = "*" if data.answers and hit["id"] == data.answers[i] else " "
            print(f"   {right}{rank}. {hit['score']:.3f}  {hit['payload']['name']}")
            print(f"              {hit['payload']['text'][:100]}")


def table(ways: list[Way], rows: int) -> str:
    """Returns the ways as a table of text."""
    header = [
        "", "codes", "ids", "norms", "model", "bytes/row", "memory", "disk", "recall@10", "nDCG@10", "R@1", "p50",
    ]
    lines = [header]
    for way in ways:
        total = way.code_bytes + way.id_bytes + way.norm_bytes + way.model_share_bytes
        optional = [
            "-" if value is None else f"{value:.3f}" for value in (way.quality.ndcg_at_10, way.quality.right_at_1)
        ]
        lines.append([
            way.name, *(f"{value:.1f}" for value in (way.code_bytes, way.id_bytes, way.norm_bytes)),
            f"{way.model_share_bytes:.1f}", f"{total:.1f}", f"{way.memory_bytes / MEBIBYTE:.1f} MiB",
            f"{way.disk_bytes / MEBIBYTE:.1f} MiB", f"{way.quality.recall_at_10:.3f}", *optional, f"{way.p50_ms:.2f} ms",
        ])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) if i == 0 else cell.rjust(width)
                        for i, (cell, width) in enumerate(zip(line, widths, strict=True)))
        for line in lines
    )
