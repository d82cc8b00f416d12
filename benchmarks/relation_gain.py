#!/usr/bin/env python3
r"""Recall of 8-byte codes with and without relation fine-tuning, on sentences of documentation.

    .venv/bin/python benchmarks/relation_gain.py [--rows 50000] [--seeds 0,1,2] [--bytes 8] \
        [--embeddings rows.npy]

The corpus is the demo's, the documentation of the installed Python, sentence by sentence, embedded
with all-MiniLM-L6-v2 and cached as the demo's is, or rows of your own. A seed draws anew which
sentences train, which are indexed and which ask; no sentence that trains does another. 8,500 of the
indexed ones ask, too, each for others than itself: 1,500 alone leave .007 to chance. Both trainings
get the same time. Recall@10 counts the ten exact nearest rows by cosine among the ten best by code.
Where the `faiss` module is installed, its residual quantizer of the same length (beam 5) stands
beside them, scored by the cosine of its decoded rows; it is no part of the project's environment.
"""

from __future__ import annotations

import argparse
import functools
import statistics

import arfc
import numpy as np
from nearest import Rows, recall, top10, unit_rows, without_themselves
from sentences import drawn, embedded, sentences

INDEXED = 20_000
QUERIES = 1_500  # that are not indexed,
ASKING = 8_500  # and that are


class Trial:
    """The rows of one seed; each method returns scores [queries, indexed] and training seconds."""

    def __init__(self, rows: Rows, seed: int, args: argparse.Namespace) -> None:
        order = np.random.default_rng(seed).permutation(len(rows))
        ends = np.cumsum([args.rows, INDEXED, QUERIES])
        *used, self.unused = np.split(order, ends)
        self.train, self.base, others = (rows[part] for part in used)
        self.queries = np.concatenate([self.base[:ASKING], others])
        self.truth = top10(self.ranked(self.queries @ self.base.T))
        self._seed = seed
        self._args = args

    @staticmethod
    def ranked(scores: Rows) -> Rows:
        """Returns scores in which no row that asks is its own answer."""
        without_themselves(scores[:ASKING])
        return scores

    def arfc(self, relations: bool) -> tuple[Rows, float]:
        model = arfc.Compressor.train(
            self.train,
            code_bytes=self._args.bytes,
            relations=relations,
            seed=self._seed,
            time_budget_s=self._args.seconds,
        )
        return model.score(self.queries, model.encode(self.base)), model.report.seconds

    def faiss(self) -> tuple[Rows, float]:
        from faiss_codecs import cosines

        factory = f"RQ{self._args.bytes}x8"
        return cosines(factory, self.train, self.base, self.queries)[:2]


def wanted_rows(train: int, args: argparse.Namespace, parser: argparse.ArgumentParser) -> Rows:
    """Returns the rows of --embeddings, or as many sentences' as a trial with `train` draws."""
    wanted = train + INDEXED + QUERIES
    if args.embeddings:
        rows = unit_rows(args.embeddings)
        if wanted > len(rows):
            parser.error(f"only {len(rows):,} rows in {args.embeddings}, wanted {wanted:,}")
        return rows
    texts = sentences()
    if wanted > len(texts):
        parser.error(f"only {len(texts):,} sentences are installed, wanted {wanted:,}")
    return embedded(drawn(texts, wanted))


def measured(name: str, values: list[float], seconds: list[float]) -> str:
    """Returns a line of the result."""
    spread = f" [{min(values):.4f}, {max(values):.4f}]" if len(values) > 1 else ""
    return (
        f"{name:34} recall@10 {statistics.mean(values):.4f}{spread}, training"
        f" {statistics.mean(seconds):.0f} s"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000, help="rows that train")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--bytes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=None, help="time budget of a training")
    parser.add_argument("--embeddings", help="[n, d] rows instead of sentences' (.npy)")
    args = parser.parse_args()

    rows = wanted_rows(args.rows, args, parser)
    drawn_rows = args.rows + INDEXED + QUERIES
    print(f"{len(rows):,} rows, {drawn_rows:,} of them drawn by each seed", flush=True)

    peer = f"FAISS RQ{args.bytes}x8, by cosine"
    results: dict[str, tuple[list[float], list[float]]] = {}
    for seed in (int(seed) for seed in args.seeds.split(",")):
        trial = Trial(rows, seed, args)
        methods = {
            "arfc without relations": functools.partial(trial.arfc, False),
            "arfc with relations": functools.partial(trial.arfc, True),
            peer: trial.faiss,
        }
        for name, scored in methods.items():
            try:
                scores, seconds = scored()
            except ModuleNotFoundError:
                print(f"  {name}: not measured, there is no module `faiss`", flush=True)
                continue
            found = recall(trial.ranked(scores), trial.truth)
            print(f"  seed {seed}: {name:34} {found:.4f}, training {seconds:.0f} s", flush=True)
            for values, value in zip(
                results.setdefault(name, ([], [])), (found, seconds), strict=True
            ):
                values.append(value)
    print(f"{args.rows:,} rows of {rows.shape[1]} floats trained on, {INDEXED:,} others indexed,")
    print(f"{ASKING:,} of them and {QUERIES:,} others ask, {args.bytes} bytes a row:")
    for name, (values, seconds) in results.items():
        print(measured(name, values, seconds))
    plain, tuned = (results[name][0] for name in list(results)[:2])
    gains = [b - a for a, b in zip(plain, tuned, strict=True)]
    print(
        f"gain by relations: mean {statistics.mean(gains):+.4f}, by seed "
        + " ".join(f"{gain:+.4f}" for gain in gains)
    )


if __name__ == "__main__":
    main()
