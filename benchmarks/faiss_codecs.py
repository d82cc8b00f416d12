"""FAISS's codecs as rivals; needs the module `faiss`, which is no part of the environment."""

from __future__ import annotations

import time

import faiss
import numpy as np
from nearest import Rows


def decoded(index: faiss.Index, rows: Rows) -> Rows:
    """Returns what a trained codec makes of rows, as unit rows; it then holds them."""
    index.add(rows)
    found = index.reconstruct_n(0, len(rows))
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)


def cosines(factory: str, train: Rows, base: Rows, queries: Rows) -> tuple[Rows, float, int]:
    """Scores by the cosine of decoded rows, which is better than FAISS's own scores.

    Returns scores [queries, base], seconds of training, and bytes a row.
    """
    started = time.perf_counter()
    index = faiss.index_factory(train.shape[1], factory, faiss.METRIC_L2)
    index.train(train)
    seconds = time.perf_counter() - started
    return queries @ decoded(index, base).T, seconds, index.sa_code_size()
