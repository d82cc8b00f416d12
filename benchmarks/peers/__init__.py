"""Engines that search_latency.py compares, each with the settings it is measured at."""

from __future__ import annotations

from collections.abc import Callable

from .engine import Engine, Rival, grid

NPROBES = [8, 16, 32, 64, 128]
BEAMS = [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]


def _faiss() -> type[Engine]:
    from .faiss_index import FaissIndex

    return FaissIndex


def _hnswlib() -> type[Engine]:
    from .hnswlib_index import HnswlibIndex

    return HnswlibIndex


def _usearch_i8() -> type[Engine]:
    from .usearch_index import UsearchI8

    return UsearchI8


def _usearch_f16() -> type[Engine]:
    from .usearch_index import UsearchF16

    return UsearchF16


def _arfc() -> type[Engine]:
    from .arfc_engines import ArfcIndex

    return ArfcIndex


def _arfc_collection() -> type[Engine]:
    from .arfc_engines import ArfcCollection

    return ArfcCollection


def _of_lists(*strings: str) -> Callable[[int, str], list[str]]:
    """Puts the number of inverted lists in the place of L, and a model's name in that of MODEL."""
    return lambda lists, model: [
        string.replace("IVFL", f"IVF{lists}").replace("MODEL", model) for string in strings
    ]


def _ivf_searches(build: str) -> list[str]:
    if "Refine" in build or "RFlat" in build:
        return grid(nprobe=NPROBES, k_factor=[4, 10])
    return grid(nprobe=NPROBES)


def _rabitq_searches(build: str) -> list[str]:
    # Query bits: 0 is the float query; fast scan takes only those of its tables.
    return [
        f"{setting}" if "fs" in build else f"{setting},qb=8" for setting in _ivf_searches(build)
    ]


def _beams(name: str) -> Callable[[str], list[str]]:
    return lambda build: grid(**{name: BEAMS})


def _arfc_searches(build: str) -> list[str]:
    has_later_stage = "/" in build.partition("ARFC")[2]
    limits = {"limit": [50, 100, 200]} if has_later_stage else {}
    if "IVF" in build:
        return grid(nprobe=NPROBES, **limits)
    return grid(ef=[32, 64, 128, 256, 512], **limits)


ENGINES = {
    "arfc": Rival(
        _arfc,
        _of_lists(
            "MODEL/1: ARFC72/16,IVFL",
            "MODEL: ARFC96/16,IVFL",
            "MODEL/1: ARFC96/16,IVFL",
            "MODEL: ARFC48/8,IVFL",
            "MODEL/1: ARFC40/16,IVFL",
            "MODEL/1: ARFC24,IVFL",
            "MODEL: ARFC96/16,HNSW8",
            "MODEL: ARFC96/16,HNSW16",
        ),
        _arfc_searches,
    ),
    "arfc collection": Rival(
        _arfc_collection,
        _of_lists("MODEL: ARFC96/16,IVFL", "MODEL: ARFC64/16,IVFL", "MODEL: ARFC40/8,IVFL"),
        _arfc_searches,
    ),
    "faiss ivf-pq fast scan": Rival(
        _faiss,
        _of_lists(
            "IVFL,PQ64x4fsr,Refine(PQ64)",
            "IVFL,PQ192x4fsr",
            "IVFL,PQ96x4fsr,Refine(SQ4)",
            "IVFL,PQ96x4fsr,Refine(SQ6)",
            "IVFL,PQ96x4fsr",
            "IVFL,PQ64x4fsr",
            "IVFL,PQ96x4fsr,Refine(SQ8)",
            "IVFL,PQ96x4fsr,RFlat",
        ),
        _ivf_searches,
    ),
    "faiss opq ivf-pq": Rival(
        _faiss,
        _of_lists(
            "OPQ64,IVFL,PQ64x4fsr,Refine(PQ64)",
            "OPQ96,IVFL,PQ96",
            "OPQ48,IVFL,PQ48",
            "OPQ64,IVFL,PQ128x4fsr",
            "OPQ32,IVFL,PQ32",
        ),
        _ivf_searches,
    ),
    "faiss ivf-rabitq": Rival(
        _faiss,
        _of_lists(
            "PCAR240,IVFL,RaBitQ3",
            "PCAR256,IVFL,RaBitQ2",
            "PCAR256,IVFL,RaBitQ3",
            "RR384,IVFL,RaBitQ",
            "PCAR256,IVFL,RaBitQ",
            "RR384,IVFL,RaBitQfs,Refine(SQ4)",
            "RR384,IVFL,RaBitQfs,Refine(PQ48)",
            "RR384,IVFL,RaBitQ4",
        ),
        _rabitq_searches,
    ),
    "faiss hnsw-sq": Rival(
        _faiss,
        _of_lists("HNSW16,SQ4", "HNSW8,SQ6", "HNSW16,SQ8"),
        _beams("efSearch"),
    ),
    "faiss hnsw-flat": Rival(_faiss, _of_lists("HNSW16,Flat", "HNSW32,Flat"), _beams("efSearch")),
    "hnswlib": Rival(
        _hnswlib,
        _of_lists("M=16,ef_construction=100", "M=32,ef_construction=100"),
        _beams("ef"),
    ),
    "usearch i8": Rival(
        _usearch_i8,
        _of_lists(
            "connectivity=16,expansion_add=100",
            "connectivity=8,expansion_add=100",
        ),
        _beams("ef"),
    ),
    "usearch f16": Rival(
        _usearch_f16,
        _of_lists(
            "connectivity=16,expansion_add=100",
            "connectivity=8,expansion_add=100",
        ),
        _beams("ef"),
    ),
}
"""Name -> engine."""
