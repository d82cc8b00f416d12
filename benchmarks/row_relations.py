"""What arfc's relations say of where one row's code is, whatever the others' codes are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from conditional_tokens import RECONSTRUCTION_WEIGHT, RELATION_WEIGHT, Start, additive
from relation_steps import NEIGHBOURS, OTHERS, TEMPERATURE, nearest_others
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True)
class Asked:
    """Rows, and those near to them that see them."""

    rows: Tensor
    asking: Tensor
    """[n, 32, dim]."""
    wanted: Tensor
    """[n, 32]: the weight of the row's edge."""
    others: Tensor
    """[n, 32, lengths]: the sum of the other edges' weights, before they are divided by it."""


class RowRelations:
    """Losses of a row's code, by the row's neighbours that trained.

    Each of these sees the row among its own 32 nearest and 384 other rows, which are coded by the
    plain beam: its divergence is a function of where this row is put, so the expectation over a
    choice of codes is exact.
    """

    def __init__(self, start: Start, rows: Tensor, codes: Tensor, lengths: list[int]) -> None:
        self.start = start
        self.rows = rows
        self.lengths = lengths
        self.near = nearest_others(rows)
        sums = additive(start.mean, start.symbols, codes)
        self.decoded = [normalize(sums[length - 1]) for length in lengths]
        random = np.random.default_rng(0)
        others = torch.from_numpy(random.integers(0, len(rows), OTHERS))
        totals = []
        for first in range(0, len(rows), 1024):
            asking = rows[first : first + 1024]
            near = self.near[first : first + 1024]
            totals.append(
                torch.stack(
                    [
                        (torch.bmm(seen[near], asking[:, :, None])[:, :, 0] / TEMPERATURE)
                        .exp()
                        .sum(1)
                        + (asking @ seen[others].T / TEMPERATURE).exp().sum(1)
                        for seen in (rows, *self.decoded)
                    ],
                    1,
                )
            )
        self.totals = torch.cat(totals)
        """[n, 1 + lengths]: sums of edges' weights, by embeddings and by prefixes."""
        self.variance = (rows - rows.mean(0)).square().sum(1).mean().item()

    def of(self, places: Tensor) -> Asked:
        """Returns those that see rows that trained."""
        near = self.near[places]
        is_seen = (self.near[near] == places[:, None, None]).any(2)
        asking = self.rows[near]

        def weights(seen: Tensor) -> Tensor:
            scores = torch.bmm(asking, seen[places][:, :, None])[:, :, 0]
            return (scores / TEMPERATURE).exp() * is_seen

        own = torch.stack([weights(seen) for seen in (self.rows, *self.decoded)], 2)
        return self._asked(self.rows[places], asking, self.totals[near] - own)

    def of_others(self, rows: Tensor) -> Asked:
        """Returns those that would see rows that took no part."""
        near = torch.cat(
            [(some @ self.rows.T).topk(NEIGHBOURS, 1).indices for some in rows.split(512)]
        )
        return self._asked(rows, self.rows[near], self.totals[near])

    def _asked(self, rows: Tensor, asking: Tensor, others: Tensor) -> Asked:
        own = (torch.bmm(asking, rows[:, :, None])[:, :, 0] / TEMPERATURE).exp()
        others = others.clamp_min(1e-6 * others.max().item())
        return Asked(rows, asking, own / (own + others[:, :, 0]), others[:, :, 1:])

    def losses(self, asked: Asked, sums: list[Tensor]) -> Tensor:
        """Returns the losses [n] of what prefixes of every length sum to, each [n, dim]."""
        errors = sum((some - asked.rows).square().sum(1) for some in sums)
        loss = RECONSTRUCTION_WEIGHT / (self.variance * len(sums)) * errors
        for place, length in enumerate(self.lengths):
            unit = normalize(sums[length - 1])
            scores = torch.bmm(asked.asking, unit[:, :, None])[:, :, 0] / TEMPERATURE
            divergence = (asked.others[:, :, place] + scores.exp()).log() - asked.wanted * scores
            loss = loss + RELATION_WEIGHT / len(self.lengths) * divergence.sum(1)
        return loss

    def of_solutions(self, asked: Asked, codes: Tensor) -> Tensor:
        """Returns the losses [n, solutions] of codes [n, solutions, tokens]."""
        start = self.start
        return torch.stack(
            [
                self.losses(asked, additive(start.mean, start.symbols, code))
                for code in codes.unbind(1)
            ],
            1,
        )
