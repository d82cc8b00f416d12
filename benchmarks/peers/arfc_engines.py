"""arfc: an index in memory, and a collection with tails on disk."""

from __future__ import annotations

import pathlib
import shutil
import time

import arfc
import numpy as np
from numpy.typing import NDArray

from .engine import Built, Data, Engine, Rows, numbers

MODEL_ROWS = 100_000  # that train; more gain little
MEASURED_ROWS = 20_000  # encoded to tell how long it takes


def model(name: str, data: Data) -> arfc.Compressor:
    """Returns the model of a name, trained at first use: code bytes, and "c" for a compact one."""
    if name == "ready":
        return arfc.Compressor.ready("all-MiniLM-L6-v2")
    path = data.models / name
    if not path.exists():
        made = arfc.Compressor.train(
            data.train[:MODEL_ROWS],
            int(name.rstrip("c")),
            compact=name.endswith("c"),
            time_budget_s=data.model_seconds,
        )
        partial = data.models / f"{name}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        data.models.mkdir(parents=True, exist_ok=True)
        made.save(partial)
        partial.rename(path)
    return arfc.Compressor.load(path)


def encoding_seconds(compressor: arfc.Compressor, rows: Rows, num_bytes: int, count: int) -> float:
    """Returns what encoding `count` rows takes, by the time of fewer."""
    some = np.ascontiguousarray(rows[:MEASURED_ROWS])
    started = time.process_time()
    compressor.encode(some, num_bytes)
    return (time.process_time() - started) * count / len(some)


def stages(setting: dict[str, int], lengths: list[int]) -> list[dict[str, int] | int]:
    """Returns the stages of a search that keeps `limit` rows of the first."""
    if len(lengths) == 1:
        return [lengths[0]]
    return [{"bytes": lengths[0], "limit": setting["limit"]}, lengths[-1]]


class ArfcIndex(Engine):
    """Builds are "<model>: <factory string>", of `model`; behind a model's name and a slash stands
    the number of lists a row, where it is not to be measured.
    """

    @classmethod
    def build(cls, settings: str, data: Data, folder: pathlib.Path) -> Built:
        rows = data.rows
        kind, factory = settings.split(": ")
        name, _, lists = kind.partition("/")
        compressor = model(name, data)
        index = arfc.index_factory(rows.shape[1], factory, arfc.METRIC_INNER_PRODUCT)
        started = time.process_time()
        index.train(data.train, model=compressor, lists_per_row=int(lists) if lists else None)
        trained = time.process_time()
        arfc.write_index(index, folder / "index")
        fixed = (folder / "index").stat().st_size
        before_adding = time.process_time()
        for first in range(0, len(rows), 100_000):
            index.add(np.ascontiguousarray(rows[first : first + 100_000]))
        added = time.process_time() - before_adding
        arfc.write_index(index, folder / "index")
        encode = encoding_seconds(
            compressor, rows, index.sa_code_size(), len(rows) + len(data.train)
        )
        return Built(trained - started, added, encode, fixed)

    def __init__(self, settings: str, folder: pathlib.Path) -> None:
        self._index = arfc.read_index(folder / "index")
        self._lengths = prefix_lengths(settings)
        self._size = (folder / "index").stat().st_size
        self._setting = ""
        self._parameters = arfc.SearchParametersARFC()

    def search(self, queries: Rows, k: int, setting: str) -> NDArray[np.int64]:
        if setting != self._setting:
            values = numbers(setting)
            self._parameters = arfc.SearchParametersARFC(
                stages=stages(values, self._lengths),
                nprobe=values.get("nprobe"),
                efSearch=values.get("ef"),
            )
            self._setting = setting
        return self._index.search(queries, k, self._parameters)[1]

    @classmethod
    def use_threads(cls, count: int) -> None:
        arfc.set_num_threads(count)

    @classmethod
    def warm_up(cls, dim: int) -> None:
        flat = arfc.index_factory(dim, "Flat", arfc.METRIC_INNER_PRODUCT)
        flat.add(np.ones((1000, dim), np.float32))
        flat.search(np.ones((1000, dim), np.float32), 10)

    @property
    def memory_bytes(self) -> int:
        return self._size


class ArfcCollection(Engine):
    """The same strings, heads resident and tails on disk."""

    @classmethod
    def build(cls, settings: str, data: Data, folder: pathlib.Path) -> Built:
        rows = data.rows
        name, factory = settings.split(": ")
        compressor = model(name, data)
        dim = rows.shape[1]
        started = time.process_time()
        with arfc.Collection.create(
            folder / "collection", dim, "cosine", factory, model=compressor
        ) as collection:
            for first in range(0, len(rows), 10_000):
                block = np.ascontiguousarray(rows[first : first + 10_000])
                collection.upsert(np.arange(first, first + len(block)), block, wait=False)
            added = time.process_time()
            collection.optimize()
            seconds = time.process_time() - added
            lists = collection.info().nlist
        length = prefix_lengths(settings)[-1]
        encode = encoding_seconds(compressor, rows, length, len(rows))
        fixed = compressor.model_bytes + 4 * dim * lists
        return Built(seconds, added - started, encode, fixed)

    def __init__(self, settings: str, folder: pathlib.Path) -> None:
        self._folder = folder / "collection"
        self._collection = arfc.Collection.open(self._folder, read_only=True)
        self._lengths = prefix_lengths(settings)

    def search(self, queries: Rows, k: int, setting: str) -> NDArray[np.int64]:
        values = numbers(setting)
        answer = self._collection.search(
            queries,
            k,
            stages=stages(values, self._lengths),
            nprobe=values.get("nprobe"),
            ef_search=values.get("ef"),
        )
        found = np.full((len(queries), k), -1, np.int64)
        for row, ids in zip(found, answer.ids, strict=True):
            row[: len(ids)] = ids
        return found

    use_threads = ArfcIndex.use_threads
    warm_up = ArfcIndex.warm_up

    @property
    def memory_bytes(self) -> int:
        info = self._collection.info()
        return info.resident_bytes + info.model_bytes

    @property
    def disk_files(self) -> list[pathlib.Path]:
        return [path for path in self._folder.rglob("*") if path.is_file()]


def prefix_lengths(settings: str) -> list[int]:
    """Returns the prefix lengths of a build, ascending: [16, 96] of "96: ARFC96/16,IVF64"."""
    sizes = settings.split("ARFC")[1].split(",")[0].split("/")
    return [int(size) for size in reversed(sizes)]
