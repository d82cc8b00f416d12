"""hnswlib: graphs over float rows."""

from __future__ import annotations

import pathlib
import time

import hnswlib
import numpy as np
from numpy.typing import NDArray

from .engine import Built, Data, Engine, Rows, numbers


class HnswlibIndex(Engine):
    """A graph; builds are "M=16,ef_construction=100"."""

    _threads = 1  # hnswlib keeps the number with each index

    @classmethod
    def build(cls, settings: str, data: Data, folder: pathlib.Path) -> Built:
        rows = data.rows
        index = hnswlib.Index("ip", rows.shape[1])
        index.init_index(len(rows), **numbers(settings))
        started = time.process_time()
        for first in range(0, len(rows), 10_000):
            index.add_items(
                np.ascontiguousarray(rows[first : first + 10_000]), num_threads=cls._threads
            )
        seconds = time.process_time() - started
        index.save_index(str(folder / "index"))
        (folder / "dim").write_text(str(rows.shape[1]), encoding="ascii")
        return Built(0.0, seconds)

    def __init__(self, settings: str, folder: pathlib.Path) -> None:
        self._index = hnswlib.Index("ip", int((folder / "dim").read_text(encoding="ascii")))
        self._index.load_index(str(folder / "index"))

    def search(self, queries: Rows, k: int, setting: str) -> NDArray[np.int64]:
        self._index.set_ef(numbers(setting)["ef"])
        labels, _ = self._index.knn_query(queries, k, num_threads=self._threads)
        return labels.astype(np.int64)

    @classmethod
    def use_threads(cls, count: int) -> None:
        cls._threads = count

    @classmethod
    def warm_up(cls, dim: int) -> None:
        index = hnswlib.Index("ip", dim)
        index.init_index(1000)
        index.add_items(np.ones((1000, dim), np.float32), num_threads=1)
        index.knn_query(np.ones((10, dim), np.float32), 10, num_threads=1)

    @property
    def memory_bytes(self) -> int:
        return self._index.index_file_size()
