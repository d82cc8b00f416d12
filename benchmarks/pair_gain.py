#!/usr/bin/env python3
r"""Accuracy of short codes at a labelled task, with and without pairs, beside uncompressed rows.

    .venv/bin/python benchmarks/pair_gain.py embeddings.npy labels.npy split.npy \
        [--test 1] [--without-label 150] [--bytes 24] [--pairs 20000] [--seeds 0]

embeddings.npy is [n, d], labels.npy and split.npy hold an integer a row: rows of split 0 train and
are indexed, those of --test ask, others are left out. Half of the classes, drawn by the seed, are
paired at random, two training rows of one class at a time; the other half is never in a pair.
A query is answered by the vote of its ten nearest rows among all that are indexed, of equal votes
the more similar rows'. FAISS's residual quantizer of the same length stands beside, scored by the
cosine of its decoded rows. Intervals are paired bootstraps over queries, 95 %.
"""

from __future__ import annotations

import argparse
import time

import arfc
import numpy as np
from faiss_codecs import cosines
from numpy.typing import NDArray

Rows = NDArray[np.float32]
NEAREST = 10


class Task:
    """Rows that train and are indexed, rows that ask, and their classes."""

    def __init__(self, args: argparse.Namespace) -> None:
        rows = np.load(args.embeddings).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        labels, split = np.load(args.labels), np.load(args.split)
        known = ~np.isin(labels, args.without_label)
        _, labels = np.unique(labels, return_inverse=True)
        base, asking = (split == 0) & known, (split == args.test) & known
        self.base, self.queries = rows[base], rows[asking]
        self.base_labels, self.query_labels = labels[base], labels[asking]

    def right(self, scores: Rows) -> NDArray[np.bool_]:
        """Returns which queries the ten nearest rows answer with their class."""
        near = np.argpartition(-scores, NEAREST, axis=1)[:, :NEAREST]
        weights = 1 + 1e-3 * np.take_along_axis(scores, near, axis=1)
        votes = np.zeros((len(scores), int(self.base_labels.max()) + 1))
        for column in range(NEAREST):
            voted = self.base_labels[near[:, column]]
            np.add.at(votes, (np.arange(len(scores)), voted), weights[:, column])
        return votes.argmax(axis=1) == self.query_labels

    def pairs(self, seed: int, count: int) -> tuple[tuple[Rows, Rows], NDArray[np.bool_]]:
        """Returns pairs of half of the classes, and which queries are of these."""
        random = np.random.default_rng(seed)
        classes = np.unique(self.base_labels)
        paired = random.permutation(classes)[: len(classes) // 2]
        members = {label: np.flatnonzero(self.base_labels == label) for label in paired}
        left = random.choice(np.flatnonzero(np.isin(self.base_labels, paired)), count)
        right = [random.choice(members[label]) for label in self.base_labels[left]]
        return (self.base[left], self.base[right]), np.isin(self.query_labels, paired)


def interval(better: NDArray[np.bool_], worse: NDArray[np.bool_]) -> str:
    """Returns the difference in points with its paired bootstrap interval."""
    difference = better.astype(np.float64) - worse
    random = np.random.default_rng(0)
    means = [random.choice(difference, len(difference)).mean() for _ in range(2000)]
    low, high = np.percentile(means, [2.5, 97.5])
    return f"{100 * difference.mean():+.2f} [{100 * low:+.2f}, {100 * high:+.2f}]"


def measure(task: Task, args: argparse.Namespace, seed: int) -> None:
    """Prints the table of one seed."""
    pairs, is_paired = task.pairs(seed, args.pairs)
    uncompressed = "uncompressed rows"
    right = {uncompressed: task.right(task.queries @ task.base.T)}
    with_pairs = f"arfc with pairs, {args.bytes} bytes"
    for name, given in ((f"arfc, {args.bytes} bytes", None), (with_pairs, pairs)):
        started = time.perf_counter()
        model = arfc.Compressor.train(task.base, args.bytes, pairs=given, seed=seed)
        seconds = time.perf_counter() - started
        right[name] = task.right(model.score(task.queries, model.encode(task.base)))
        print(f"  {name}: trained in {seconds:.0f} s, {model.report.pairs}", flush=True)
    codec = f"RQ{args.bytes}x8"
    right[f"FAISS {codec}, by cosine"] = task.right(
        cosines(codec, task.base, task.base, task.queries)[0]
    )
    for kinds, chosen in (("paired", is_paired), ("never paired", ~is_paired)):
        print(f"seed {seed}, {kinds} classes, {chosen.sum()} queries:")
        for name, answers in right.items():
            line = f"  {name:34} {100 * answers[chosen].mean():6.2f} %"
            if name != with_pairs:
                gain = interval(right[with_pairs][chosen], answers[chosen])
                line += f"   with pairs: {gain} points"
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("embeddings")
    parser.add_argument("labels")
    parser.add_argument("split")
    parser.add_argument("--test", type=int, default=1, help="split of the rows that ask")
    parser.add_argument("--without-label", type=int, nargs="*", default=[], help="left out")
    parser.add_argument("--bytes", type=int, default=24)
    parser.add_argument("--pairs", type=int, default=20_000)
    parser.add_argument("--seeds", default="0")
    args = parser.parse_args()
    task = Task(args)
    print(
        f"{len(task.base):,} rows of {task.base.shape[1]} floats train and are indexed,"
        f" {len(task.queries):,} ask, {args.pairs:,} pairs",
        flush=True,
    )
    for seed in (int(seed) for seed in args.seeds.split(",")):
        measure(task, args, seed)


if __name__ == "__main__":
    main()
