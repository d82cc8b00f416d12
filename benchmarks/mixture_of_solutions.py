#!/usr/bin/env python3
r"""What a network gains that makes one code of several solutions of a row: a prototype.

    .venv/bin/python benchmarks/mixture_of_solutions.py [--rows 50000] [--model-rows 10000] \
        [--bytes 8] [--seed 0] [--configurations choose:4:64,choose:8:128,refine:8:64] [--sets 4] \
        [--steps 2000] [--beams 16,32,64] [--models directory] [--embeddings rows.npy]

The paper refines several base solutions of an entity to its code by cross-solution attention and
learnable compression tokens. Solutions here are the best hypotheses of an arfc model's beam where
it commits, after --bytes tokens; `-sets` behind a head's name joins codes by models of other seeds,
--sets of them in all. Every compression token, one a byte of the final code, attends over the
tokens of all solutions up to its own place: embeddings of symbols, what prefixes decode to, and the
row. A configuration is HEAD:SOLUTIONS:WIDTH, and a head

    choose   tells which solution is the code, once, where the beam commits;
    refine   tells, token by token, which symbol follows those chosen before it: one that a solution
             has there, or one of those nearest to what is left.

Last layers begin at zero, beside a constant for the beam's best, so step 0 is the model. What is
learned is the model's own aim: the divergence of the graph that the row's 32 neighbours see, and
the squared error, at prefixes; `choose` descends its exact expectation over the solutions, `refine`
goes straight through the hard choice. What has the best recall of 1,000 held-out rows among
themselves and 8,192 that trained is kept.

Rows are drawn and asked as in relation_gain.py. Printed are recall@10 of other rows by plain beams
of several widths and by a search over single tokens behind the widest, by the solution that is best
for the row's neighbours among the rows that trained (what a network could approach), by the best of
the codebook sets, then for every configuration its learning curve, its FLOP, and recall@10 by the
model's tables and by tables fitted to the new codes.
"""

from __future__ import annotations

import argparse
import math
import pathlib
import tempfile
import time
from dataclasses import dataclass

import arfc
import numpy as np
import torch
from conditional_tokens import Start, additive, fitted, report
from nearest import Rows
from relation_gain import Trial, wanted_rows
from relation_steps import (
    COMPARED,
    HELD_OUT,
    SYMBOLS,
    best_others,
    rate_share,
    share_found,
)
from row_relations import RowRelations
from solutions import hypotheses, searched
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

RATE = 1e-3
BATCH = 256
MEASURED = 8  # times in a training
BEAM = 16  # whose hypotheses are the solutions
BLOCKS, HEADS = 2, 4
NEAREST = 8  # symbols beside those of the solutions, of `refine`
FIRST_LOGIT = 2.0  # of the beam's best
MOST_REFITTED = 20_000  # rows that tables are fitted to


def opened(train: Rows, seed: int, args: argparse.Namespace) -> Start:
    """Returns a model of that seed in the rows' own space; trains it where it is not kept.

    It learns from the first --model-rows of the rows.
    """
    train = train[: args.model_rows]
    with tempfile.TemporaryDirectory() as temporary:
        directory = pathlib.Path(args.models or temporary, f"{len(train)}-{args.bytes}-{seed}")
        if not directory.exists():
            arfc.Compressor.train(train, args.bytes, seed=seed).save(directory)
        start = Start(directory)
    start.mean, start.symbols, start.landmarks = (
        some @ start.rotation for some in (start.mean, start.symbols, start.landmarks)
    )
    return start


@dataclass(frozen=True)
class Solutions:
    """Codes of rows, the beam's best first, those of other sets last."""

    rows: Tensor
    codes: Tensor
    """[n, solutions, tokens]."""
    excess: Tensor
    """[n, solutions]: how much more a solution costs than the beam's best, as a share of that."""

    def __getitem__(self, places: Tensor | slice) -> Solutions:
        return Solutions(self.rows[places], self.codes[places], self.excess[places])

    def __len__(self) -> int:
        return len(self.rows)


class Sets:
    """Models of several seeds; the first one's tokens are those of the final code."""

    def __init__(self, starts: list[Start]) -> None:
        self.first = starts[0]
        self.others = starts[1:]
        self._known: dict[tuple[int, int, int], tuple[Tensor, Tensor]] = {}

    def best(self, of_set: int, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the hypotheses of a set's beam, and their costs; once for each rows."""
        key = (of_set, rows.data_ptr(), len(rows))
        if key not in self._known:
            start = [self.first, *self.others][of_set]
            self._known[key] = hypotheses(start, rows, BEAM, BEAM)
        return self._known[key]

    def solutions(self, rows: Tensor, count: int, others: bool) -> Solutions:
        """Returns so many solutions of rows, one of each other set among them if wanted."""
        sources = range(1, 1 + len(self.others)) if others else ()
        codes, costs = self.best(0, rows)
        own = count - len(sources)
        parts = [(codes[:, :own], costs[:, :own])]
        for source in sources:
            of_set, cost = self.best(source, rows)
            parts.append((of_set[:, :1], cost[:, :1]))
        codes, costs = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        return Solutions(rows, codes, costs / costs[:, :1] - 1)


class Block(nn.Module):
    """Compression tokens look at solutions, then at those before them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cross = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.own = nn.MultiheadAttention(width, HEADS, batch_first=True)
        self.inner = nn.Linear(width, 4 * width)
        self.outer = nn.Linear(4 * width, width)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))

    def forward(self, tokens: Tensor, seen: Tensor, later: Tensor, later_own: Tensor) -> Tensor:
        asking = self.norms[0](tokens)
        tokens = tokens + self.cross(asking, seen, seen, attn_mask=later, need_weights=False)[0]
        asking = self.norms[1](tokens)
        tokens = (
            tokens + self.own(asking, asking, asking, attn_mask=later_own, need_weights=False)[0]
        )
        return tokens + self.outer(torch.relu(self.inner(self.norms[2](tokens))))


class Mixture(nn.Module):
    """Cross-solution attention, and a head."""

    def __init__(self, sets: Sets, configuration: Configuration) -> None:
        super().__init__()
        self.start = sets.first
        self.refines = configuration.head == "refine"
        width, count = configuration.width, configuration.solutions
        tokens, _, dim = self.start.symbols.shape
        self.places = torch.arange(tokens)
        others = [start.symbols for start in sets.others] if configuration.others else []
        own = count - len(others)
        self.own = own
        self.symbols = [self.start.symbols] * own + others  # Of each solution.
        self.of_symbol = nn.Parameter(torch.randn(1 + len(others), tokens, SYMBOLS, width) * 0.5)
        self.table = [0] * own + list(range(1, 1 + len(others)))
        self.of_sum = nn.Parameter(torch.randn(dim, width) * 2 / math.sqrt(dim))
        self.of_row = nn.Linear(dim, width)
        self.of_excess = nn.Parameter(torch.zeros(width))
        self.rank = nn.Parameter(torch.randn(count, 1, width) * 0.5)
        self.place = nn.Parameter(torch.randn(tokens, width) * 0.5)
        self.compression = nn.Parameter(torch.randn(tokens, width) * 0.5)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(BLOCKS))
        self.of_token, self.of_option = (nn.Linear(width, width) for _ in range(2))
        self.of_error = nn.Parameter(torch.zeros(width))
        self.last = nn.Linear(width, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)
        later = self.places[:, None] < self.places
        self.later_own, self.later = later, later.repeat(1, count)

    def _read(self, some: Solutions) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Returns compression tokens [n, tokens, width], the solutions' [n, solutions, tokens,
        width], and by set what symbols sum to, [tokens, 256, width].
        """
        tables: dict[int, Tensor] = {}
        seen = []
        for place, (symbols, table) in enumerate(zip(self.symbols, self.table, strict=True)):
            code = some.codes[:, place]
            if table not in tables:
                tables[table] = symbols @ self.of_sum
            sums = tables[table][self.places, code].cumsum(1)
            seen.append(sums + self.of_symbol[table][self.places, code])
        row = self.of_row(some.rows)[:, None]
        solutions = torch.stack(seen, 1) + self.rank + self.place + row[:, None]
        solutions = self.norm(solutions + some.excess[:, :, None, None] * self.of_excess)
        tokens = (self.compression + row).expand(len(some), -1, -1)
        for block in self.blocks:
            tokens = block(tokens, solutions.flatten(1, 2), self.later, self.later_own)
        return tokens, solutions, [tables[table] for table in sorted(tables)]

    def _logits(self, token: Tensor, options: Tensor, errors: Tensor) -> Tensor:
        """Returns [n, options] of a token [n, width] and options [n, options, width]."""
        hidden = self.of_token(token)[:, None] + self.of_option(options)
        logits = self.last(torch.relu(hidden + errors[:, :, None] * self.of_error))[:, :, 0]
        first = torch.zeros(options.shape[1])
        first[0] = FIRST_LOGIT
        return logits + first

    def choice(self, some: Solutions) -> Tensor:
        """Returns logits of the solutions."""
        tokens, solutions, _ = self._read(some)
        return self._logits(tokens[:, -1], solutions[:, :, -1], some.excess)

    def refined(self, some: Solutions) -> tuple[Tensor, list[Tensor]]:
        """Returns codes [n, tokens], and what their prefixes sum to, whose gradient goes straight
        through the choice of symbols.
        """
        tokens, _, tables = self._read(some)
        decoded = self.start.mean.expand(len(some), -1)
        code, sums = [], []
        seen = torch.zeros(len(some), 1, tokens.shape[2])
        for token, symbols in enumerate(self.start.symbols):
            with torch.no_grad():
                left = some.rows - decoded
                near = symbols.square().sum(1) - 2 * left @ symbols.T
                nearest = near.topk(NEAREST, 1, largest=False).indices
                options = torch.cat([some.codes[:, : self.own, token], nearest], 1)
                errors = near.gather(1, options)
                errors = (errors - errors.amin(1, keepdim=True)) / symbols.square().sum(1).mean()
                is_known = (options[:, :, None] == options[:, None]).tril(-1).any(2)
            of_options = self.of_symbol[0, token][options] + tables[0][token][options]
            logits = self._logits(tokens[:, token], seen + of_options, errors)
            chances = logits.masked_fill(is_known, -1e4).softmax(1)
            best = chances.argmax(1, keepdim=True)
            hard = torch.zeros_like(chances).scatter_(1, best, 1.0)
            through = hard + chances - chances.detach() if self.training else hard
            decoded = decoded + torch.bmm(through[:, None], symbols[options])[:, 0]
            seen = seen + of_options.gather(1, best[:, :, None].expand(-1, -1, seen.shape[2]))
            code.append(options.gather(1, best))
            sums.append(decoded)
        return torch.cat(code, 1), sums

    @torch.no_grad()
    def codes(self, solutions: Solutions) -> Tensor:
        """Returns the final codes [n, tokens]."""
        self.eval()
        found = []
        for first in range(0, len(solutions), 1024):
            some = solutions[slice(first, first + 1024)]
            if self.refines:
                found.append(self.refined(some)[0])
            else:
                best = self.choice(some).argmax(1)
                found.append(some.codes[torch.arange(len(some)), best])
        self.train()
        return torch.cat(found)


@dataclass(frozen=True)
class Configuration:
    """HEAD:SOLUTIONS:WIDTH."""

    head: str
    others: bool
    """Solutions of other codebook sets, too."""
    solutions: int
    width: int

    @classmethod
    def of(cls, text: str, sets: int) -> Configuration:
        """Raises ValueError: it is none."""
        name, solutions, width = text.split(":")
        head, _, others = name.partition("-")
        found = cls(head, others == "sets", int(solutions), int(width))
        own = found.solutions - (sets - 1 if found.others else 0)
        if head not in ("choose", "refine") or others not in ("", "sets"):
            raise ValueError(f"head is not known: {name}")
        if found.others and (head == "choose" or sets < 2):
            raise ValueError(
                f"codes of other sets are refined, none is a code of the first: {text}"
            )
        if not 1 <= own <= BEAM or found.width % HEADS:
            raise ValueError(f"solutions of a beam of {BEAM}, or a width of {HEADS} heads: {text}")
        return found


class Experiment:
    """Models, the rows that train a network, and those that took no part."""

    def __init__(self, rows: Rows, args: argparse.Namespace) -> None:
        self.args = args
        self.trial = Trial(rows, args.seed, args)
        self.lengths = sorted({max(1, args.bytes // part) for part in (4, 2, 1)})
        seeds = range(args.seed, args.seed + args.sets)
        self.sets = Sets([opened(self.trial.train, seed, args) for seed in seeds])
        self.start = self.sets.first
        train = torch.from_numpy(self.trial.train)
        self.base = torch.from_numpy(self.trial.base)
        self.queries = torch.from_numpy(self.trial.queries)
        self.compared, self.rows = train[: HELD_OUT + COMPARED], train[HELD_OUT:]
        self.truth = best_others(self.compared[:HELD_OUT] @ self.compared.T)
        plain = self.sets.best(0, self.rows)[0][:, 0]
        self.relations = RowRelations(self.start, self.rows, plain, self.lengths)

    def directions(self, codes: Tensor, tables: Tensor | None = None) -> list[Tensor]:
        """Returns what prefixes are scored by."""
        sums = additive(self.start.mean, self.start.symbols if tables is None else tables, codes)
        return [self.start.directions(sums[length - 1]) for length in self.lengths]

    def show(self, name: str, decoded: list[Tensor]) -> None:
        report(name, self.trial, self.queries, decoded, self.lengths)

    def show_searches(self) -> None:
        """Prints what searches without a network find."""
        for width in self.args.beams:
            started = time.perf_counter()
            codes = hypotheses(self.start, self.base, width, 1)[0][:, 0]
            seconds = time.perf_counter() - started
            self.show(f"beam of {width}, {seconds:.0f} s", self.directions(codes))
        codes = searched(self.start, self.base, codes, sweeps=4)
        self.show("and a search over single tokens", self.directions(codes))
        codes = hypotheses(self.start, self.base, BEAM, 1, all_judged=True)[0][:, 0]
        self.show(f"beam of {BEAM}, all candidates judged", self.directions(codes))
        for count in (4, BEAM):
            codes = self.sets.best(0, self.base)[0][:, :count]
            losses = [
                self.relations.of_solutions(self.relations.of_others(rows), some)
                for rows, some in zip(self.base.split(1024), codes.split(1024), strict=True)
            ]
            best = torch.cat(losses).argmin(1)
            chosen = codes[torch.arange(len(codes)), best]
            self.show(f"best of {count} by rows that trained", self.directions(chosen))

    def show_sets(self) -> None:
        """Prints what the best of the codebook sets finds, whose number is told beside the code."""
        decoded, costs = [], []
        for place, start in enumerate([self.start, *self.sets.others]):
            codes, cost = self.sets.best(place, self.base)
            sums = additive(start.mean, start.symbols, codes[:, 0])
            decoded.append([start.directions(sums[length - 1]) for length in self.lengths])
            costs.append(cost[:, 0])
            self.show(f"set {place}", decoded[-1])
        best = torch.stack(costs, 1).argmin(1)
        every = torch.arange(len(best))
        chosen = [torch.stack(some, 1)[every, best] for some in zip(*decoded, strict=True)]
        self.show(f"best of {len(decoded)} sets, and its number", chosen)

    def run(self, text: str) -> None:
        """Trains a network, prints its learning curve and what it finds."""
        configuration = Configuration.of(text, self.args.sets)
        torch.manual_seed(self.args.seed)
        random = np.random.default_rng(self.args.seed)
        model = Mixture(self.sets, configuration)
        count, others = configuration.solutions, configuration.others
        trained = self.sets.solutions(self.rows, count, others)
        measured = self.sets.solutions(self.compared, count, others)
        losses = None if model.refines else self.losses(trained.codes)
        optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, weight_decay=0.0)
        every = max(1, self.args.steps // MEASURED)
        best, kept = -1.0, {}
        started = time.perf_counter()
        for step in range(self.args.steps + 1):
            if step % every == 0 or step == self.args.steps:
                found = self.held_out(model.codes(measured))
                if sum(found) > best:
                    best = sum(found)
                    kept = {k: v.detach().clone() for k, v in model.state_dict().items()}
                recalls = ", ".join(
                    f"{n} B {value:.4f}" for n, value in zip(self.lengths, found, strict=True)
                )
                seconds = time.perf_counter() - started
                print(f"  step {step:5}, {seconds:5.0f} s, held-out {recalls}", flush=True)
            if step < self.args.steps:
                optimizer.param_groups[0]["lr"] = RATE * rate_share(step, self.args.steps)
                places = torch.from_numpy(random.integers(0, len(self.rows), BATCH))
                some = trained[places]
                if losses is None:
                    loss = self.relations.losses(self.relations.of(places), model.refined(some)[1])
                else:
                    loss = (model.choice(some).softmax(1) * losses[places]).sum(1)
                optimizer.zero_grad()
                loss.mean().backward()
                optimizer.step()
        model.load_state_dict(kept)
        with FlopCounterMode(display=False) as counter:  # It knows no fast paths of inference.
            (model.refined if model.refines else model.choice)(measured[:BATCH])
        print(f"  {counter.get_total_flops() / BATCH / 1e6:.1f} MFLOP a row", flush=True)
        codes = model.codes(self.sets.solutions(self.base, count, others))
        self.show(text, self.directions(codes))
        some = trained[slice(0, MOST_REFITTED)]
        tables = fitted(self.start.mean, self.start.symbols, some.rows, model.codes(some))
        self.show(f"{text}, fitted tables", self.directions(codes, tables))

    def held_out(self, codes: Tensor) -> list[float]:
        return [
            share_found(best_others(self.compared[:HELD_OUT] @ decoded.T), self.truth)
            for decoded in self.directions(codes)
        ]

    def losses(self, codes: Tensor) -> Tensor:
        """Returns the losses of solutions of the rows that train."""
        places = torch.arange(len(codes))
        return torch.cat(
            [
                self.relations.of_solutions(self.relations.of(some), codes[some])
                for some in places.split(1024)
            ]
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000, help="rows that train")
    parser.add_argument("--model-rows", type=int, help="rows of them that train the model; all")
    parser.add_argument("--bytes", type=int, default=8, help="tokens, at most 16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--configurations", default="choose:4:64,choose:8:128,refine:8:64")
    parser.add_argument("--sets", type=int, default=1, help="models of as many seeds")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--beams", default="16,32,64", help="widths of plain beams")
    parser.add_argument("--models", help="directory where models are kept, for the next run")
    parser.add_argument("--embeddings", help="[n, d] rows instead of sentences' (.npy)")
    args = parser.parse_args()
    if not 1 <= args.bytes <= 16:
        parser.error(f"tokens of one commit point are compared, 1 to 16: {args.bytes}")
    args.beams = [int(width) for width in args.beams.split(",") if width]
    configurations = [text for text in args.configurations.split(",") if text]
    try:
        for text in configurations:
            Configuration.of(text, args.sets)
    except ValueError as error:
        parser.error(str(error))
    experiment = Experiment(wanted_rows(args.rows, args, parser), args)
    if args.beams:
        experiment.show_searches()
    if args.sets > 1:
        experiment.show_sets()
    for text in configurations:
        experiment.run(text)


if __name__ == "__main__":
    main()
