"""usearch: graphs over rows of bytes or half floats."""

from __future__ import annotations

import pathlib
import time

import numpy as np
from numpy.typing import NDArray
from usearch.index import Index

from .engine import Built, Data, Engine, Rows, numbers


class UsearchIndex(Engine):
    """A graph; builds are "connectivity=16,expansion_add=100"."""

    dtype: str
    _threads = 1  # usearch takes the number with each call

    @classmethod
    def build(cls, settings: str, data: Data, folder: pathlib.Path) -> Built:
        rows = data.rows
        index = Index(ndim=rows.shape[1], metric="cos", dtype=cls.dtype, **numbers(settings))
        started = time.process_time()
        for first in range(0, len(rows), 10_000):
            block = np.ascontiguousarray(rows[first : first + 10_000])
            index.add(np.arange(first, first + len(block)), block, threads=cls._threads)
        seconds = time.process_time() - started
        index.save(str(folder / "index"))
        return Built(0.0, seconds)

    def __init__(self, settings: str, folder: pathlib.Path) -> None:
        self._index = Index.restore(str(folder / "index"), view=False)

    def search(self, queries: Rows, k: int, setting: str) -> NDArray[np.int64]:
        self._index.expansion_search = numbers(setting)["ef"]
        found = self._index.search(queries, k, threads=self._threads)
        return np.asarray(found.keys, np.int64).reshape(len(queries), k)

    @classmethod
    def use_threads(cls, count: int) -> None:
        cls._threads = count

    @classmethod
    def warm_up(cls, dim: int) -> None:
        index = Index(ndim=dim, metric="cos", dtype=cls.dtype)
        index.add(np.arange(1000), np.ones((1000, dim), np.float32), threads=1)
        index.search(np.ones((10, dim), np.float32), 10, threads=1)

    @property
    def memory_bytes(self) -> int:
        return self._index.serialized_length


class UsearchI8(UsearchIndex):
    dtype = "i8"


class UsearchF16(UsearchIndex):
    dtype = "f16"
