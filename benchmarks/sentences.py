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


def first_sentences() -> set[str]:
    """Returns the case-folded sentences that docstrings begin with: what an entry is about."""
    return {
        sentence.casefold()
        for entry in corpus.collect(None, 0).entries
        for sentence in SENTENCE_END.split(" ".join(entry.question.split()))
    }


def drawn(texts: list[str], count: int) -> list[str]:
    """Returns so many sentences, always the same ones, so that no other seed embeds others."""
    return [texts[i] for i in np.sort(np.random.default_rng(0).permutation(len(texts))[:count])]


def embedded(texts: list[str]) -> Rows:
    """Returns the sentences' rows, L2-normalised."""
    embedder = embedding.Embedder(
        lambda name, done, total: print(f"\r{name}: {done:,} of {total:,}", end="", file=sys.stderr)
    )
    rows = embedder.embed("Embedding sentences", texts)
    print(file=sys.stderr)
    return rows
