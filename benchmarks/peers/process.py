"""One engine in a process of its own: builds an index, or opens one and asks it.

    python -m peers.process REQUEST

REQUEST is a JSON object, the answer one on the standard output; search_latency.py starts it.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import mmap
import pathlib
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from . import ENGINES
from .engine import Data, Engine, Rows

K = 10
WARMING = 32  # queries on two threads before the clock starts
TIMED = 500  # queries of a call that is timed; on one thread they are all asked once before


def anonymous_bytes() -> int:
    """Returns the resident memory of this process that is no file's."""
    ctypes.CDLL(None).malloc_trim(0)  # what was freed is nobody's need
    status = pathlib.Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


def cached_bytes(paths: list[pathlib.Path]) -> int:
    """Returns how much of files the page cache holds."""
    libc = ctypes.CDLL(None, use_errno=True)
    page = mmap.PAGESIZE
    total = 0
    for path in paths:
        size = path.stat().st_size
        if size == 0:
            continue
        # A private mapping, because ctypes takes addresses of writable ones alone.
        with path.open("rb") as file, mmap.mmap(file.fileno(), size, mmap.MAP_PRIVATE) as mapped:
            pages = -(-size // page)
            present = (ctypes.c_ubyte * pages)()
            start = ctypes.c_char.from_buffer(mapped)
            if libc.mincore(ctypes.c_void_p(ctypes.addressof(start)), size, present) != 0:
                raise OSError(ctypes.get_errno(), f"Page cache cannot be told: {path}")
            del start
            total += sum(value & 1 for value in present) * page
    return total


def build(request: dict[str, Any]) -> dict[str, Any]:
    rows = np.load(request["rows"], mmap_mode="r")[: request["count"]]
    sample = np.random.default_rng(0).permutation(len(rows))[: request["training"]]
    train = np.ascontiguousarray(rows[np.sort(sample)])
    # Sorted places read a file in order; engines that take the first of them want any order.
    train = np.random.default_rng(1).permutation(train)
    folder = pathlib.Path(request["folder"])
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    data = Data(rows, train, pathlib.Path(request["models"]), request["model_seconds"])
    engine = ENGINES[request["engine"]].load()
    engine.use_threads(1)
    return dataclasses.asdict(engine.build(request["build"], data, folder))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Returns the processor's time, of all threads of this process, and wall time."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.process_time() - processor, time.perf_counter() - wall


def ask(engine: Engine, queries: Rows, setting: str, singles: int) -> dict[str, float]:
    """Measures one search setting: queries a second in a batch on one thread and two, and
    microseconds of a query alone.

    On one thread by the processor's time, which other programs on the machine lengthen less than
    wall time; where there are none, both are the same.
    """
    queries = queries[:TIMED]
    engine.use_threads(1)
    # All of them, as arfc computes terms of rows when they are first ranked.
    engine.search(queries, K, setting)
    one, one_wall = seconds(lambda: engine.search(queries, K, setting))
    alone = [
        seconds(lambda i=i: engine.search(queries[i : i + 1], K, setting))[0]
        for i in range(singles)
    ]
    engine.use_threads(2)
    engine.search(queries[:WARMING], K, setting)
    _, two_wall = seconds(lambda: engine.search(queries, K, setting))
    return {
        "qps": len(queries) / one,
        "qps_wall": len(queries) / one_wall,
        "qps_two": len(queries) / two_wall,
        "p50": 1e6 * float(np.percentile(alone, 50)),
        "p99": 1e6 * float(np.percentile(alone, 99)),
    }


def hits(engine: Engine, queries: Rows, truth: np.ndarray, setting: str) -> list[int]:
    """Returns how many of its ten nearest rows each query finds."""
    found = engine.search(queries, K, setting)
    return [len(np.intersect1d(a, b)) for a, b in zip(found, truth, strict=True)]


def measure(request: dict[str, Any]) -> dict[str, Any]:
    queries = np.load(request["queries"])
    truth = np.load(request["truth"])
    kind = ENGINES[request["engine"]].load()
    kind.use_threads(1)
    kind.warm_up(queries.shape[1])
    before = anonymous_bytes()
    engine = kind(request["build"], pathlib.Path(request["folder"]))
    answer: dict[str, Any] = {"searches": {}}
    for setting in request["searches"]:
        answer["searches"][setting] = ask(engine, queries, setting, request["singles"])
    answer |= {
        "memory": anonymous_bytes() - before + cached_bytes(engine.disk_files),
        "structure": engine.memory_bytes,
        "disk": engine.disk_bytes,
    }
    if request["with_hits"]:  # After memory, since they need some.
        for setting, value in answer["searches"].items():
            value["hits"] = "".join(f"{n:x}" for n in hits(engine, queries, truth, setting))
    return answer


def main() -> None:
    request = json.loads(sys.argv[1])
    answer = {"build": build, "measure": measure}[request["task"]](request)
    # Libraries print on the standard output; the answer is its last line.
    print("\n" + json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
