"""arfc as an algorithm of ann-benchmarks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import arfc

from ..base.module import BaseANN

METRICS = {"angular": arfc.METRIC_INNER_PRODUCT, "euclidean": arfc.METRIC_L2}


class Arfc(BaseANN):
    """An index of codes, by a factory string.

    metric   "angular" or "euclidean".
    factory  Such as "ARFC96/16,IVF1024".
    """

    def __init__(self, metric: str, factory: str) -> None:
        if metric not in METRICS:
            raise ValueError(f"arfc has no such metric: {metric}")
        self._metric = metric
        self._factory = factory
        self._index: arfc.Index | None = None
        self._parameters: arfc.SearchParametersARFC | None = None
        self._batch: NDArray[np.int64] | None = None
        self.name = f"arfc({factory})"

    def _rows(self, x: Any) -> NDArray[np.float32]:
        rows = np.ascontiguousarray(np.atleast_2d(x), dtype=np.float32)
        if self._metric == "angular":
            # A row of zeros has no angle; as any unit row it is as far from a query as it was.
            rows = np.where(np.any(rows != 0, axis=1, keepdims=True), rows, np.float32(1))
            rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return rows

    def fit(self, X: Any) -> None:
        rows = self._rows(X)
        index = arfc.index_factory(rows.shape[1], self._factory, METRICS[self._metric])
        index.train(rows)
        index.add(rows)
        self._index = index

    def set_query_arguments(self, breadth: int, shortlist: int) -> None:
        """Sets what a search looks at.

        breadth    Inverted lists to scan, or rows that a walk through a graph keeps in view; 0:
                   what was measured in training. Without effect where every row is scanned.
        shortlist  Rows that the shortest prefix hands on; 0: what was measured in training.
        """
        stages = None
        sizes = self._factory.split(",")[0].removeprefix("ARFC").split("/")
        if shortlist and len(sizes) > 1:
            lengths = sorted(map(int, sizes))
            limits = [{"bytes": length, "limit": shortlist} for length in lengths[:-1]]
            stages = [*limits, {"bytes": lengths[-1], "limit": 0}]
        wide: dict[str, int] = {}
        if breadth and ",IVF" in self._factory:
            wide["nprobe"] = breadth
        elif breadth and (",HNSW" in self._factory or ",NSG" in self._factory):
            wide["efSearch"] = breadth
        self._parameters = arfc.SearchParametersARFC(stages=stages, **wide)
        self.name = f"arfc({self._factory}, {breadth}, {shortlist})"

    def query(self, q: Any, n: int) -> NDArray[np.int64]:
        return self._search(q, n)[0]

    def batch_query(self, X: Any, n: int) -> None:
        self._batch = self._search(X, n)

    def get_batch_results(self) -> NDArray[np.int64]:
        if self._batch is None:
            raise RuntimeError("There was no batch of queries")
        return self._batch

    def _search(self, x: Any, n: int) -> NDArray[np.int64]:
        if self._index is None:
            raise RuntimeError("Rows are searched before fit")
        return self._index.search(self._rows(x), n, self._parameters)[1]
