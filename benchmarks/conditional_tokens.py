#!/usr/bin/env python3
r"""What tokens gain whose symbols stand for other vectors after other tokens: a prototype.

    .venv/bin/python benchmarks/conditional_tokens.py [--rows 50000] [--bytes 8] [--seed 0] \
        [--steps 2000] [--context reconstruction|symbols] [--units 128] [--embeddings rows.npy]

arfc's tokens are sums: symbol k of token t is the same vector behind every prefix. Here it is

    symbol[t][k] + output[t] relu(of_symbol[t] symbol[t][k] + of_context[t] context + bias[t])

where the context is what the tokens before decode to, or a sum of embeddings of their symbols. The
output layers begin at zero, so step 0 is the model that arfc trained on the same rows. Losses are
those of arfc's relations (squared error at every prefix, the listwise graph at sampled ones); each
step chooses its rows' symbols anew, by a narrow beam among the candidates nearest by plain symbols,
judged by the model's landmarks. What has the best recall of 1,000 held-out rows among themselves
and 8,192 that trained is kept.

Rows are drawn and asked as in relation_gain.py. Printed are the held-out recall as training goes on
(a learning curve), then recall@10 of other rows by what codes decode to through the network
(`neural`), and by tables of plain symbols (`additive`): as they are, and fitted to the new codes.
"""

from __future__ import annotations

import argparse
import json
import math
import pathlib
import tempfile
import time

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
from safetensors.torch import load_file
from torch import Tensor

RELATION_WEIGHT, RECONSTRUCTION_WEIGHT = 0.5, 4.0
NETWORK_RATE, SYMBOL_RATE = 1e-3, 3e-4
MEASURED = 10  # times in a training
TILE = 128


class Start:
    """What an arfc model (cosine, whole-space tokens alone, relations) decodes with."""

    def __init__(self, directory: pathlib.Path) -> None:
        config = json.loads((directory / "config.json").read_text())
        tensors = load_file(directory / "model.safetensors")
        self.rotation = tensors["rotation"].float()
        self.landmarks = tensors["landmarks"].float()
        self.asked: int = config["landmarks_asked"]
        self.error_weight: float = config["landmark_error_weight"]
        self.norm_power = 1.0 - config["norm_shrinkage"]
        decode = tensors.get("decode_map", torch.eye(config["dim"])).float()
        self.mean = decode @ tensors["mean"].float()
        self.symbols = tensors["early"].float() @ decode.T

    def directions(self, decoded: Tensor) -> Tensor:
        """Divides by lengths as the model's scores do."""
        lengths = decoded.norm(dim=1, keepdim=True).clamp_min(1e-9)
        return decoded / torch.where(lengths < 1, lengths**self.norm_power, lengths)


class ConditionalTokens(torch.nn.Module):
    """Tokens, their network, and the beam that chooses them."""

    def __init__(self, start: Start, context: str, units: int) -> None:
        super().__init__()
        self.start = start
        self.tokens, _, self.dim = start.symbols.shape
        self.mean = torch.nn.Parameter(start.mean.clone())
        self.symbols = torch.nn.Parameter(start.symbols.clone())

        def normal(*shape: int, deviation: float) -> torch.nn.Parameter:
            return torch.nn.Parameter(torch.randn(shape) * deviation)

        deviation = 2.0 / math.sqrt(self.dim)  # Rows are of length one.
        self.of_symbol = normal(self.tokens, self.dim, units, deviation=deviation)
        self.embeddings = None
        width = self.dim
        if context == "symbols":
            self.embeddings = normal(self.tokens, SYMBOLS, units, deviation=0.5)
            width, deviation = units, 1.0 / math.sqrt(units)
        self.of_context = normal(self.tokens, width, units, deviation=deviation)
        self.bias = torch.nn.Parameter(torch.zeros(self.tokens, units))
        self.output = torch.nn.Parameter(torch.zeros(self.tokens, units, self.dim))

    def _hidden_symbols(self, token: int) -> Tensor:
        return self.symbols[token] @ self.of_symbol[token] + self.bias[token]

    def _hidden_context(self, token: int, decoded: Tensor, seen: Tensor | None) -> Tensor:
        context = decoded if seen is None else torch.relu(seen)
        return context @ self.of_context[token]

    def _see(self, token: int, symbols: Tensor, seen: Tensor | None) -> Tensor | None:
        return None if self.embeddings is None else seen + self.embeddings[token][symbols]

    def _nothing_seen(self, *shape: int) -> Tensor | None:
        return None if self.embeddings is None else torch.zeros(*shape, self.bias.shape[1])

    def decode(self, codes: Tensor) -> list[Tensor]:
        """Returns what every prefix of codes [n, tokens] decodes to, each [n, dim]."""
        decoded = self.mean.expand(len(codes), -1)
        seen = self._nothing_seen(len(codes))
        out = []
        for token in range(self.tokens):
            symbols = codes[:, token]
            hidden = torch.relu(
                self._hidden_symbols(token)[symbols] + self._hidden_context(token, decoded, seen)
            )
            decoded = decoded + self.symbols[token][symbols] + hidden @ self.output[token]
            seen = self._see(token, symbols, seen)
            out.append(decoded)
        return out

    @torch.no_grad()
    def decoded(self, codes: Tensor, lengths: list[int]) -> list[Tensor]:
        """Returns directions that prefixes of the lengths decode to."""
        parts = [[y[t - 1] for t in lengths] for y in map(self.decode, codes.split(2048))]
        return [self.start.directions(torch.cat(part)) for part in zip(*parts, strict=True)]

    @torch.no_grad()
    def encode(self, rows: Tensor, beam: int, candidates: int) -> Tensor:
        """Chooses the symbols of rows [n, dim], all at once at the end. Returns [n, tokens]."""
        hidden = [self._hidden_symbols(token) for token in range(self.tokens)]
        return torch.cat(
            [self._encode_tile(tile, hidden, beam, candidates) for tile in rows.split(TILE)]
        )

    def _encode_tile(self, rows: Tensor, hidden: list[Tensor], beam: int, kept: int) -> Tensor:
        start = self.start
        wanted, nearest = (rows @ start.landmarks.T).topk(start.asked, 1)
        landmarks = start.landmarks[nearest]
        spread = 2 - 2 * wanted.mean(1)
        count = len(rows)
        decoded = self.mean.expand(count, 1, -1)
        seen = self._nothing_seen(count, 1)
        codes = torch.zeros(count, 1, 0, dtype=torch.int64)
        for token in range(self.tokens):
            symbols = self.symbols[token]
            left = rows[:, None] - decoded
            near = symbols.square().sum(1) - 2 * (left @ symbols.T)
            chosen = near.topk(kept, 2, largest=False).indices
            context = self._hidden_context(token, decoded, seen)[:, :, None]
            bent = torch.relu(hidden[token][chosen] + context) @ self.output[token]
            longer = (decoded[:, :, None] + symbols[chosen] + bent).flatten(1, 2)
            unit = longer / longer.norm(dim=2, keepdim=True).clamp_min(1e-9)
            misses = (torch.bmm(unit, landmarks.mT) - wanted[:, None]).square().mean(2)
            errors = (unit - rows[:, None]).square().sum(2)
            cost = misses + start.error_weight * spread[:, None] * errors
            last = token + 1 == self.tokens
            best = cost.topk(1 if last else min(beam, cost.shape[1]), 1, largest=False).indices
            from_beam = (best // kept)[:, :, None]
            symbol = chosen.flatten(1).gather(1, best)
            decoded = longer.gather(1, best[:, :, None].expand(-1, -1, self.dim))
            before = codes.gather(1, from_beam.expand(-1, -1, token))
            codes = torch.cat([before, symbol[:, :, None]], 2)
            if seen is not None:
                seen = seen.gather(1, from_beam.expand(-1, -1, seen.shape[2]))
                seen = self._see(token, symbol, seen)
        return codes[:, 0]


def additive(mean: Tensor, tables: Tensor, codes: Tensor) -> list[Tensor]:
    """Returns the sums of every prefix of codes."""
    sums = [mean.expand(len(codes), -1)]
    for token in range(codes.shape[1]):
        sums.append(sums[-1] + tables[token][codes[:, token]])
    return sums[1:]


@torch.no_grad()
def fitted(mean: Tensor, symbols: Tensor, rows: Tensor, codes: Tensor) -> Tensor:
    """Returns tables [tokens, 256, dim] whose sums leave less of rows than symbols do."""
    tables = symbols.clone()
    for _ in range(3):
        left = rows - additive(mean, tables, codes)[-1]
        for token in range(len(tables)):
            chosen = codes[:, token]
            sums = torch.zeros_like(tables[token]).index_add_(0, chosen, left)
            counts = torch.bincount(chosen, minlength=SYMBOLS)[:, None]
            change = 0.5 * sums / (counts + 20)
            tables[token] += change
            left = left - change[chosen]
    return tables


class Training:
    """Gradient steps on rows that are turned as the model turns them."""

    def __init__(self, model: ConditionalTokens, rows: Tensor, args: argparse.Namespace) -> None:
        self.model = model
        self.args = args
        self.random = np.random.default_rng(args.seed)
        self.held_out, self.rows = rows[:HELD_OUT], rows[HELD_OUT:]
        self.base = torch.cat([self.held_out, self.rows[:COMPARED]])
        self.truth = best_others(self.held_out @ self.base.T)
        self.variance = (self.rows - self.rows.mean(0)).square().sum(1).mean().item()
        self.near = nearest_others(self.rows)
        symbols = [model.mean, model.symbols]
        network = [p for p in model.parameters() if all(p is not s for s in symbols)]
        self.optimizer = torch.optim.AdamW(
            [{"params": symbols, "lr": SYMBOL_RATE}, {"params": network, "lr": NETWORK_RATE}],
            betas=(0.9, 0.99),
            weight_decay=0.0,
        )
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.lengths = sorted({max(1, model.tokens // part) for part in (4, 2, 1)})

    def run(self) -> None:
        """Trains, and leaves what measured best."""
        started = time.perf_counter()
        every = max(1, self.args.steps // MEASURED)
        best, kept = -1.0, {}
        for step in range(self.args.steps + 1):
            if step % every == 0 or step == self.args.steps:
                found = self.measure()
                mean = sum(found) / len(found)
                if mean > best:
                    best = mean
                    kept = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
                print(
                    f"  step {step:5}, {time.perf_counter() - started:6.0f} s, held-out recall at "
                    + ", ".join(f"{n} B {v:.4f}" for n, v in zip(self.lengths, found, strict=True)),
                    flush=True,
                )
            if step < self.args.steps:
                self.descend(step)
        self.model.load_state_dict(kept)

    def measure(self) -> list[float]:
        codes = self.model.encode(self.base, beam=4, candidates=8)
        return [
            share_found(best_others(self.held_out @ decoded.T), self.truth)
            for decoded in self.model.decoded(codes, self.lengths)
        ]

    def sampled_lengths(self, share: float) -> list[int]:
        """Draws lengths as arfc's relations do, from long to short."""
        mean, concentration = 0.75 - 0.5 * share, 4.0
        draws = self.random.beta(concentration * mean, concentration * (1 - mean), 3)
        tokens = self.model.tokens
        return sorted({min(8, tokens), *(max(1, math.ceil(tokens * draw)) for draw in draws)})

    def descend(self, step: int) -> None:
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * rate_share(step, self.args.steps)
        anchors, drawn_rows = drawn_step(self.random, self.near)
        itself = anchors[:, None] == drawn_rows[None]
        queries, rows = self.rows[anchors], self.rows[drawn_rows]
        wanted = edges(queries @ rows.T, itself)
        decoded = self.model.decode(self.model.encode(rows, beam=2, candidates=6))
        weight = RECONSTRUCTION_WEIGHT / (self.variance * len(decoded) * len(rows))
        loss = weight * sum((some - rows).square().sum() for some in decoded)
        lengths = self.sampled_lengths(step / self.args.steps)
        for length in lengths:
            some = torch.nn.functional.normalize(decoded[length - 1])
            difference = wanted - edges(queries @ some.T, itself)
            divergence = (wanted.exp() * difference).sum(1).mean()
            loss = loss + RELATION_WEIGHT / len(lengths) * divergence
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def report(
    name: str, trial: Trial, queries: Tensor, decoded: list[Tensor], lengths: list[int]
) -> None:
    found = [recall(trial.ranked((queries @ some.T).numpy()), trial.truth) for some in decoded]
    line = ", ".join(f"{n} B {value:.4f}" for n, value in zip(lengths, found, strict=True))
    print(f"{name:36} recall@10 {line}", flush=True)


def compare(rows: Rows, args: argparse.Namespace) -> None:
    trial = Trial(rows, args.seed, args)
    lengths = sorted({max(1, args.bytes // part) for part in (4, 2, 1)})
    with tempfile.TemporaryDirectory() as directory:
        base = arfc.Compressor.train(trial.train, args.bytes, seed=args.seed)
        base.save(directory)
        start = Start(pathlib.Path(directory))
    codes = base.encode(trial.base)
    for length in lengths:
        scores = base.score(trial.queries, codes[:, :length])
        print(f"arfc, {length} B: {recall(trial.ranked(scores), trial.truth):.4f}", flush=True)

    turned = [torch.from_numpy(part) @ start.rotation.T for part in (trial.train, trial.base)]
    queries = torch.from_numpy(trial.queries) @ start.rotation.T
    torch.manual_seed(args.seed)
    model = ConditionalTokens(start, args.context, args.units)
    Training(model, turned[0], args).run()
    new = model.encode(turned[1], beam=8, candidates=8)
    report("neural", trial, queries, model.decoded(new, lengths), lengths)
    mean, symbols = model.mean.detach(), model.symbols.detach()
    some = turned[0][:20_000]
    refitted = fitted(mean, symbols, some, model.encode(some, 4, 8))
    for name, tables in (("plain symbols", symbols), ("fitted tables", refitted)):
        sums = additive(mean, tables, new)
        decoded = [start.directions(sums[length - 1]) for length in lengths]
        report(f"additive, {name}", trial, queries, decoded, lengths)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=50_000, help="rows that train")
    parser.add_argument("--bytes", type=int, default=8, help="tokens, at most 16")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument(
        "--context", choices=("reconstruction", "symbols"), default="reconstruction"
    )
    parser.add_argument("--units", type=int, default=128)
    parser.add_argument("--embeddings", help="[n, d] rows instead of sentences' (.npy)")
    args = parser.parse_args()
    if not 1 <= args.bytes <= 16:
        parser.error(f"tokens of a few bytes are compared, 1 to 16: {args.bytes}")
    compare(wanted_rows(args.rows, args, parser), args)


if __name__ == "__main__":
    main()
