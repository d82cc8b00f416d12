#!/usr/bin/env python3
r"""Makes as many rows as are wanted that are like real embeddings, and checks that they are.

    .venv/bin/python benchmarks/million_rows.py OUT.npy [--count 1000000] [--rows ROWS.npy] \
        [--seed 0]
    .venv/bin/python benchmarks/million_rows.py --check [--rows ROWS.npy] [--seed 0]

ROWS.npy is [n, d], real embeddings; without it they are the sentences of the installed Python's
documentation by all-MiniLM-L6-v2 (384 floats), embedded at first use and cached as the demo's are.

A made row lies between a real row and one of its ten nearest, and off that line by noise: the
shape of the noise is the covariance of what real rows differ from their neighbours by, its size the
distance of the two. Rows are unit rows, none is a real row. They follow from the real rows and
--seed alone, block by block: the first million of two million are the million. Beside the
real rows, the links and one block nothing is held in memory.

--check makes as many rows as are real, and sets recall@10 of FAISS's codes on the made rows beside
the same on the real ones: of each kind a quarter, at most 20,000, trains, 2,000 others ask, the
rest is indexed, at most 100,000. It fails where the two differ by more than .02.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from nearest import Rows, nearest10, unit_rows
from numpy.typing import NDArray

BLOCK = 16_384  # rows made at a time
NEIGHBOURS = 10
FARTHEST = 0.5  # share of the way to the neighbour at most; beyond it lies the neighbour's own half
NOISE = 0.56  # length of the noise, in distances of the two rows; chosen by --check
CODES = {"RQ16x8": "RQ16x8", "OPQ16": "OPQ16,PQ16"}
TOLERANCE = 0.02


@dataclass(frozen=True)
class Source:
    """Real rows and what lies around them."""

    rows: Rows
    """[n, d] unit rows."""
    neighbours: NDArray[np.int64]
    """[n, NEIGHBOURS], nearest first."""
    noise: Rows
    """[d, d]: standard normal rows times this have the covariance of differences of neighbours, and
    unit length on average."""

    @classmethod
    def of(cls, rows: Rows) -> Source:
        neighbours = nearest10(rows, rows, without_themselves=True)
        ends = np.random.default_rng(0).integers(NEIGHBOURS, size=len(rows))
        steps = rows[neighbours[np.arange(len(rows)), ends]] - rows
        lengths = np.linalg.norm(steps, axis=1, keepdims=True)
        apart = lengths[:, 0] > 1e-3  # copies tell no direction
        steps = steps[apart] / lengths[apart]
        covariance = (steps.T @ steps / len(steps)).astype(np.float64)
        values, vectors = np.linalg.eigh(covariance)
        noise = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
        return cls(rows, neighbours, noise.astype(np.float32))

    def made(self, count: int, seed: int) -> Iterator[Rows]:
        """Yields blocks of so many rows in all."""
        for block, first in enumerate(range(0, count, BLOCK)):
            rows = self._block(np.random.default_rng([seed, block]))
            yield rows[: count - first]

    def _block(self, random: np.random.Generator) -> Rows:
        near = random.integers(len(self.rows), size=BLOCK)
        far = self.neighbours[near, random.integers(NEIGHBOURS, size=BLOCK)]
        share = random.uniform(0, FARTHEST, size=(BLOCK, 1)).astype(np.float32)
        step = self.rows[far] - self.rows[near]
        size = NOISE * np.linalg.norm(step, axis=1, keepdims=True)
        noise = random.standard_normal((BLOCK, self.rows.shape[1]), np.float32) @ self.noise
        rows = self.rows[near] + share * step + size * noise
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def write(source: Source, path: pathlib.Path, count: int, seed: int) -> None:
    """Writes an .npy file of `count` rows, whole or not at all."""
    partial = path.with_suffix(".partial")
    shape = (count, source.rows.shape[1])
    out = np.lib.format.open_memmap(partial, "w+", np.float32, shape)
    first = 0
    for rows in source.made(count, seed):
        out[first : first + len(rows)] = rows
        first += len(rows)
        print(f"\rMade {first:,} of {count:,} rows", end="", file=sys.stderr)
    print(file=sys.stderr)
    out.flush()
    partial.replace(path)


def real_rows(path: str | None) -> Rows:
    """Returns the rows of a file, or the documentation's sentences."""
    if path is not None:
        return unit_rows(path)
    from sentences import embedded, sentences

    return embedded(sentences())


def recalls(rows: Rows, seed: int) -> dict[str, float]:
    """Returns recall@10 of each of CODES, on rows that did not train."""
    import faiss
    from faiss_codecs import decoded

    rows = np.random.default_rng(seed).permutation(rows)
    train, queries, base = np.split(rows, np.cumsum([min(20_000, len(rows) // 4), 2_000]))
    base = base[:100_000]
    truth = nearest10(queries, base)
    found = {}
    for name, factory in CODES.items():
        codec = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_L2)
        codec.train(train)
        answers = nearest10(queries, decoded(codec, base))
        found[name] = float(
            np.mean([len(np.intersect1d(a, b)) / 10 for a, b in zip(answers, truth, strict=True)])
        )
    return found


def check(source: Source, seed: int) -> bool:
    """Prints real rows beside made ones. Returns whether they are alike."""
    made = np.concatenate(list(source.made(len(source.rows), seed)))
    nearest = np.concatenate(
        [(made[i : i + 1024] @ source.rows.T).max(axis=1) for i in range(0, 8192, 1024)]
    )
    print(f"{len(made):,} rows made of as many real ones; cosine of made rows to the nearest")
    print(f"real one: median {np.median(nearest):.3f}, largest {nearest.max():.4f}")
    print("| recall@10 | real rows | made rows | difference |\n|---|---|---|---|")
    real, ours = recalls(source.rows, seed), recalls(made, seed)
    for name in CODES:
        print(f"| {name} | {real[name]:.4f} | {ours[name]:.4f} | {ours[name] - real[name]:+.4f} |")
    return all(abs(ours[name] - real[name]) <= TOLERANCE for name in CODES)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", nargs="?", type=pathlib.Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--rows", help="[n, d] real embeddings (.npy)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--check", action="store_true", help="compare made rows with real ones")
    args = parser.parse_args()
    if args.check == (args.out is not None):
        parser.error("either --check or the file to write")
    if args.count < 1:
        parser.error(f"--count is at least 1: {args.count}")
    rows = real_rows(args.rows)
    if len(rows) <= NEIGHBOURS:
        parser.error(f"real rows are too few: {len(rows)}, expected more than {NEIGHBOURS}")
    source = Source.of(rows)
    if args.check:
        return 0 if check(source, args.seed) else 1
    write(source, args.out, args.count, args.seed)
    return 0


if __name__ == "__main__":
    sys.exit(main())
