"""What the demo searches: the documentation of the installed Python, or a user's embeddings."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import random
import sys
from collections.abc import Callable

import corpus
import embedding
import numpy as np
from numpy.typing import NDArray

QUESTIONS = 2000  # enough for +-.01 of recall; embedding more would only take time
REST_CHARACTERS = 160  # of a document that its payload shows


@dataclasses.dataclass(frozen=True)
class Data:
    """Rows to search and queries to ask."""

    title: str
    rows: NDArray[np.float32]  # [n, dim] unit length
    payloads: list[dict[str, str]]  # [n] {"name", "text"}
    queries: NDArray[np.float32]  # [m, dim] unit length
    query_texts: list[str]  # [m]
    answers: list[int] | None  # [m] the row that each query is about; None where nobody knows


class InputError(Exception):
    """The user's input cannot be used; the message says why."""


def documentation(limit: int | None, seed: int, report: Callable[[str, int, int], None]) -> Data:
    """Collects and embeds the documentation of this interpreter.

    limit  most documents, drawn by `seed`; None: all.
    """
    collected = corpus.collect(
        limit, seed, lambda done, total: report("Reading sources", done, total)
    )
    entries = collected.entries
    print(
        f"{collected.found:,} docstrings have a summary line and a rest; {collected.deduplicated:,}"
        f" are distinct by both; {len(entries):,} are used. Corpus {collected.digest()[:12]}."
    )
    embedder = embedding.Embedder(report)
    rows = embedder.embed("Embedding documents", [entry.document for entry in entries])
    asked = sorted(random.Random(seed).sample(range(len(entries)), min(QUESTIONS, len(entries))))
    queries = embedder.embed("Embedding questions", [entries[i].question for i in asked])
    if embedder.embedded:
        rate = embedder.embedded / embedder.seconds
        print(
            f"{embedder.embedded:,} texts embedded with {embedding.MODEL} in"
            f" {embedder.seconds:.0f} s, {rate:.0f} texts/s; those known from"
            " earlier runs were not embedded again."
        )
    payloads = [
        {"name": entry.name, "text": " ".join(entry.document.split())[:REST_CHARACTERS]}
        for entry in entries
    ]
    version = ".".join(map(str, sys.version_info[:3]))
    return Data(
        f"documentation of Python {version} and its packages, {embedding.MODEL}",
        rows,
        payloads,
        queries,
        [entries[i].question for i in asked],
        asked,
    )


def own(path: pathlib.Path, texts_path: pathlib.Path | None, seed: int) -> Data:
    """Reads a user's embeddings.

    A tenth of them, at most 1,000, leave the collection and become the queries.
    """
    rows = _read_rows(path)
    texts = (
        [f"row {i}" for i in range(len(rows))] if texts_path is None else _read_texts(texts_path)
    )
    if len(texts) != len(rows):
        raise InputError(
            f"Texts and rows differ in number: {len(texts):,} texts, {len(rows):,} rows"
        )
    if len(rows) < 40:
        raise InputError(f"Too few rows to search and to ask: {len(rows)}, expected 40 or more")
    order = np.random.default_rng(seed).permutation(len(rows))
    count = min(1000, len(rows) // 10)
    asked, kept = np.sort(order[:count]), np.sort(order[count:])
    payloads = [{"name": f"row {i}", "text": texts[i][:REST_CHARACTERS]} for i in kept]
    return Data(path.name, rows[kept], payloads, rows[asked], [texts[i] for i in asked], None)


def _read_rows(path: pathlib.Path) -> NDArray[np.float32]:
    try:
        rows = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"Embeddings cannot be read ({error}): {path}") from error
    if not isinstance(rows, np.ndarray) or rows.ndim != 2 or rows.dtype.kind != "f":
        shape = getattr(rows, "shape", None)
        raise InputError(
            f"Embeddings must be a matrix [rows, dim] of floats: shape {shape}, file {path}"
        )
    rows = rows.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1) | ~rows.any(axis=1))
    if len(bad):
        raise InputError(
            f"Embeddings must be finite and not zero: row {bad[0]}, {len(bad):,} such rows, {path}"
        )
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _read_texts(path: pathlib.Path) -> list[str]:
    texts = []
    try:
        with open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                value = json.loads(line)
                text = value.get("text") if isinstance(value, dict) else value
                if not isinstance(text, str):
                    raise InputError(
                        f'A line is a JSON string or an object with "text": {path}, line {number}'
                    )
                texts.append(" ".join(text.split()))
    except (OSError, ValueError) as error:
        raise InputError(f"Texts cannot be read ({error}): {path}") from error
    return texts
