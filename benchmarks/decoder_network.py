#!/usr/bin/env python3
r"""What networks gain that decode finished codes, or move what asks for them: a prototype.

    .venv/bin/python benchmarks/decoder_network.py --parts sum,symbols,query [--rows 50000] \
        [--fresh 0] [--bytes 16] [--seed 0] [--steps 1200] [--units 512] [--embeddings rows.npy]

A model of arfc is trained on --rows rows; its codes stay what they are, and

    sum      what a prefix decodes to is sum + output relu(inner sum + bias[length]),
    symbols  inner sum is joined by an embedding of each symbol of the prefix,
    query    rows decode as they do, and what asks is query + output relu(inner query + bias).

The output layer begins at zero, so step 0 is the model. Losses are those of arfc's relations
(squared error and the listwise graph; the graph alone for queries) at prefixes of any length. The
rows that train the network are those that trained the model, whose codes are closer to them than
codes of other rows are, or with --fresh so many others. Printed is the held-out recall as training
goes on, and recall@10 of other rows, drawn and asked as in relation_gain.py, beside it: what is
best by the first is what would be kept.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import dataclass

import arfc
import numpy as np
import torch
from nearest import Rows, recall
from relation_gain import Trial, wanted_rows
from relation_steps import (
    COMPARED,
    HELD_OUT,
    SYMBOLS,
    best_others,
    drawn_step,
    edges,
    nearest_others,
    rate_share,
    share_found,
)
from torch import Tensor
from torch.nn.functional import normalize

RATE = 1e-3
MEASURED = 4  # times in a training
PARTS = ("sum", "symbols", "query")


class Network(torch.nn.Module):
    """What is added to sums, or to queries."""

    def __init__(self, part: str, rows: Tensor, args: argparse.Namespace) -> None:
        super().__init__()
        self.part = part
        dim = rows.shape[1]
        self.mean = rows.mean(0)
        self.scale = (rows - self.mean).square().sum(1).mean().sqrt()

        self.inner = torch.nn.Parameter(torch.randn(dim, args.units) * 2 / math.sqrt(dim))
        self.bias = torch.nn.Parameter(torch.zeros(args.bytes + 1, args.units))
        self.output = torch.nn.Parameter(torch.zeros(args.units, dim))
        embedded = args.bytes if self.part == "symbols" else 0
        self.symbols = torch.nn.Parameter(torch.zeros(embedded, SYMBOLS, args.units))

    def _added(self, to: Tensor, bias: Tensor) -> Tensor:
        hidden = torch.relu((to - self.mean) / self.scale @ self.inner + bias)
        return to + self.scale * (hidden @ self.output)

    def query(self, queries: Tensor) -> Tensor:
        return self._added(queries, self.bias[0]) if self.part == "query" else queries

    def decode(self, sums: Tensor, codes: Tensor, length: int) -> Tensor:
        """Decodes prefixes of codes [n, bytes] that sum to [n, dim]."""
        if self.part == "query":
            return sums
        bias = self.bias[length]
        if self.part == "symbols":
            places = torch.arange(length)
            bias = bias + self.symbols[places, codes[:, :length]].sum(1)
        return self._added(sums, bias)


@dataclass(frozen=True)
class Coded:
    """Rows, their codes, and what prefixes of those sum to, by length from 1 on."""

    rows: Tensor
    codes: Tensor
    sums: list[Tensor]

    @classmethod
    def by(cls, model: arfc.Compressor, rows: Rows) -> Coded:
        codes = model.encode(rows)
        sums = [model.decode(codes[:, :length]) for length in range(1, codes.shape[1] + 1)]
        return cls(
            torch.from_numpy(rows),
            torch.from_numpy(codes.astype(np.int64)),
            [torch.from_numpy(some) for some in sums],
        )

    def first(self, count: int) -> Coded:
        return Coded(self.rows[:count], self.codes[:count], [some[:count] for some in self.sums])

    @torch.no_grad()
    def decoded(self, network: Network, length: int) -> Tensor:
        """Returns directions of what prefixes decode to."""
        parts = zip(self.sums[length - 1].split(4096), self.codes.split(4096), strict=True)
        return normalize(torch.cat([network.decode(*part, length) for part in parts]))


class Experiment:
    """Codes, and networks that learn from them."""

    def __init__(self, rows: Rows, args: argparse.Namespace) -> None:
        self.args = args
        self.trial = Trial(rows, args.seed, args)
        model = arfc.Compressor.train(self.trial.train, args.bytes, seed=args.seed)
        taught = rows[self.trial.unused[: args.fresh]] if args.fresh else self.trial.train
        self.base = Coded.by(model, self.trial.base)
        self.coded = Coded.by(model, taught)
        self.compared = self.coded.first(HELD_OUT + COMPARED)
        self.queries = torch.from_numpy(self.trial.queries)
        self.lengths = sorted({max(1, args.bytes // part) for part in (8, 4, 2, 1)})
        self.held_out = self.coded.rows[:HELD_OUT]
        self.truth = best_others(self.held_out @ self.compared.rows.T)
        self.near = nearest_others(self.coded.rows[HELD_OUT:])

    def run(self, part: str) -> None:
        """Trains a network, and prints what it finds on the way."""
        self.random = np.random.default_rng(self.args.seed)
        torch.manual_seed(self.args.seed)
        self.network = Network(part, self.coded.rows, self.args)
        optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=RATE, betas=(0.9, 0.99), weight_decay=0.0
        )
        started = time.perf_counter()
        for step in range(self.args.steps + 1):
            if step % max(1, self.args.steps // MEASURED) == 0:
                spent = time.perf_counter() - started
                print(f"{part:8} step {step:5}, {spent:5.0f} s, {self.measured()}", flush=True)
            if step < self.args.steps:
                optimizer.param_groups[0]["lr"] = RATE * rate_share(step, self.args.steps)
                optimizer.zero_grad()
                self.loss().backward()
                optimizer.step()

    @torch.no_grad()
    def measured(self) -> str:
        held_out, others = [], []
        for length in self.lengths:
            scores = (
                self.network.query(self.held_out) @ self.compared.decoded(self.network, length).T
            )
            hits = share_found(best_others(scores), self.truth)
            held_out.append(f"{length} B {hits:.4f}")
            scores = self.network.query(self.queries) @ self.base.decoded(self.network, length).T
            hits = recall(self.trial.ranked(scores.numpy()), self.trial.truth)
            others.append(f"{length} B {hits:.4f}")
        return f"held-out {', '.join(held_out)}; others {', '.join(others)}"

    def loss(self) -> Tensor:
        network = self.network
        anchors, places = drawn_step(self.random, self.near)
        itself = anchors[:, None] == places[None]
        places, anchors = places + HELD_OUT, anchors + HELD_OUT
        queries, rows = self.coded.rows[anchors], self.coded.rows[places]
        wanted = edges(queries @ rows.T, itself)
        asking = network.query(queries)
        loss = torch.zeros(())
        for length in self.random.choice(self.args.bytes, min(3, self.args.bytes), False) + 1:
            sums = self.coded.sums[length - 1][places]
            decoded = network.decode(sums, self.coded.codes[places], length)
            difference = wanted - edges(asking @ normalize(decoded).T, itself)
            loss = loss + (wanted.exp() * difference).sum(1).mean()
            if network.part != "query":
                loss = loss + ((decoded - rows) / network.scale).square().sum(1).mean()
        return loss


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--rows", type=int, default=50_000, help="rows that train the model")
    parser.add_argument("--fresh", type=int, default=0, help="other rows, to train the network")
    parser.add_argument("--bytes", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--embeddings", help="[n, d] rows instead of sentences' (.npy)")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if unknown := set(parts) - set(PARTS):
        parser.error(f"a part is not known: {', '.join(sorted(unknown))}")
    experiment = Experiment(wanted_rows(args.rows + args.fresh, args, parser), args)
    for part in parts:
        experiment.run(part)


if __name__ == "__main__":
    main()
