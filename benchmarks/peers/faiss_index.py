"""FAISS's own indexes, by their factory strings, through the wheel `faiss-cpu`."""

from __future__ import annotations

import pathlib
import time

import faiss
import numpy as np
from numpy.typing import NDArray

from .engine import Built, Data, Engine, Rows, numbers

OPQ_ITERATIONS = 15  # instead of 50, as training a rotation would take longer than all the rest
OPQ_ROWS = 32_768


class FaissIndex(Engine):
    """Any index of FAISS's. Distances are L2, which orders unit rows as cosines do."""

    @classmethod
    def build(cls, settings: str, data: Data, folder: pathlib.Path) -> Built:
        rows = data.rows
        index = faiss.index_factory(rows.shape[1], settings, faiss.METRIC_L2)
        for part in _parts(index):
            if isinstance(part, faiss.OPQMatrix):
                part.niter, part.max_train_points = OPQ_ITERATIONS, OPQ_ROWS
            if isinstance(part, faiss.IndexPQ):
                part.do_polysemous_training = False  # minutes, for a search that is not used here
            if isinstance(part, faiss.IndexHNSW):
                part.hnsw.efConstruction = 100
        started = time.process_time()
        index.train(data.train)
        trained = time.process_time()
        fixed = len(faiss.serialize_index(index))
        before_adding = time.process_time()
        index.add(rows)
        added = time.process_time()
        faiss.write_index(index, str(folder / "index"))
        return Built(trained - started, added - before_adding, fixed_bytes=fixed)

    def __init__(self, settings: str, folder: pathlib.Path) -> None:
        self._index = faiss.read_index(str(folder / "index"))
        self._size = (folder / "index").stat().st_size
        self._setting = ""

    def search(self, queries: Rows, k: int, setting: str) -> NDArray[np.int64]:
        if setting != self._setting:
            for name, value in numbers(setting).items():
                _set(self._index, name, value)
            self._setting = setting
        return self._index.search(queries, k)[1]

    @classmethod
    def use_threads(cls, count: int) -> None:
        faiss.omp_set_num_threads(count)

    @classmethod
    def warm_up(cls, dim: int) -> None:
        index = faiss.IndexFlatL2(dim)
        index.add(np.ones((1000, dim), np.float32))
        index.search(np.ones((1000, dim), np.float32), 10)

    @property
    def memory_bytes(self) -> int:
        """FAISS writes what it holds, and nothing else of any size."""
        return self._size


def _parts(index: faiss.Index) -> list:
    """Returns an index and what is inside it, transforms included, from outside to inside."""
    index = faiss.downcast_index(index)
    if isinstance(index, faiss.IndexPreTransform):
        chain = [
            faiss.downcast_VectorTransform(index.chain.at(i)) for i in range(index.chain.size())
        ]
        return [index, *chain, *_parts(index.index)]
    if isinstance(index, faiss.IndexRefine):
        return [index, *_parts(index.base_index), *_parts(index.refine_index)]
    return [index]


def _set(index: faiss.Index, name: str, value: int) -> None:
    for part in _parts(index):
        owner = part.hnsw if name == "efSearch" and hasattr(part, "hnsw") else part
        if hasattr(owner, name):
            setattr(owner, name, value)
            return
    raise ValueError(f"Index has no such setting: {name}")
