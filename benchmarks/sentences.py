"""Sentences of the installed Python's documentation, and their embeddings by all-MiniLM-L6-v2."""

from __future__ import annotations

import pathlib
import re
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "examples" / "documentation_search"))

import corpus
import embedding
from nearest import Rows

MOST_CHARACTERS = 400  # longer ones are tables and signatures
SENTENCE_END = re.compile(r"(?<=[.!?]) +(?=[A-Z`'\"(])")


def sentences() -> list[str]:
    """Returns the distinct sentences of the documentation, in the order of the corpus."""
    found: dict[str, str] = {}
    for entry in corpus.collect(None, 0).entries:
        for paragraph in (entry.question, *re.split(r"\n\s*\n", entry.document)):
            for sentence in SENTENCE_END.split(" ".join(paragraph.split())):
                words = re.findall(r"[A-Za-z]{2,}", sentence)
                if len(words) >= 4 and len(sentence) <= MOST_CHARACTERS and ">>>" not in sentence:
                    found.setdefault(sentence.casefold(), sentence)
    return list(found.values())


def embedded(texts: list[str], count: int) -> Rows:
    """Returns the rows of so many sentences: the same ones, so that other seeds embed none anew."""
    embedder = embedding.Embedder(
        lambda name, done, total: print(f"\r{name}: {done:,} of {total:,}", end="", file=sys.stderr)
    )
    drawn = np.sort(np.random.default_rng(0).permutation(len(texts))[:count])
    rows = embedder.embed("Embedding sentences", [texts[i] for i in drawn])
    print(file=sys.stderr)
    return rows
