"""The beam by which an arfc model chooses whole-space tokens, in torch, with all its hypotheses."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from conditional_tokens import Start
from torch import Tensor

CANDIDATES_OF_A_TILE = 1 << 19  # hypotheses times symbols, over a tile's rows


@dataclass(frozen=True)
class Judge:
    """What tells how far hypotheses are from rows of unit length: the model's landmarks."""

    rows: Tensor
    landmarks: Tensor
    """[n, asked, dim]: the nearest to each row."""
    wanted: Tensor
    """[n, asked]: their cosines."""
    error_weight: Tensor
    """[n]: of the squared error."""

    @classmethod
    def of(cls, start: Start, rows: Tensor) -> Judge:
        wanted, nearest = (rows @ start.landmarks.T).topk(start.asked, 1)
        spread = 2 - 2 * wanted.mean(1)
        return cls(rows, start.landmarks[nearest], wanted, start.error_weight * spread)

    def costs(self, decoded: Tensor, symbols: Tensor) -> Tensor:
        """Returns the costs [n, h, 256] of adding each symbol [256, dim] to [n, h, dim]."""
        norms = decoded.square().sum(2)[:, :, None] + symbols.square().sum(1)
        norms = (norms + 2 * decoded @ symbols.T).clamp_min(1e-12)
        lengths = norms.sqrt()
        seen = torch.bmm(decoded, self.landmarks.mT)
        added = self.landmarks @ symbols.T
        squares = seen.square().sum(2)[:, :, None] + added.square().sum(1)[:, None]
        squares = squares + 2 * torch.bmm(seen, added)
        agreed = torch.bmm(seen, self.wanted[:, :, None]) + self.wanted[:, None] @ added
        wanted = self.wanted.square().sum(1)[:, None, None]
        misses = (squares / norms - 2 * agreed / lengths + wanted) / self.wanted.shape[1]
        along = torch.bmm(decoded, self.rows[:, :, None]) + (self.rows @ symbols.T)[:, None]
        return misses + self.error_weight[:, None, None] * (2 - 2 * along / lengths)

    def proposed(self, decoded: Tensor, symbols: Tensor, width: int) -> Tensor:
        """Tells of which of them [n, h, 256] the model's beam looks at the costs: of those that
        leave the least squared error; of 16 hypotheses about 54.

        The bound is the largest of `width` minima, over every width-th symbol each.
        """
        left = self.rows[:, None] - decoded
        errors = left.square().sum(2)[:, :, None] + symbols.square().sum(1)
        errors = errors - 2 * left @ symbols.T
        minima = errors.unflatten(2, (-1, width)).amin((1, 2))
        return errors <= minima.amax(1)[:, None, None]


@torch.no_grad()
def hypotheses(
    start: Start, rows: Tensor, width: int, kept: int, all_judged: bool = False
) -> tuple[Tensor, Tensor]:
    """Returns the best codes [n, kept, tokens] of a beam, best first, and their costs [n, kept].

    width is a power of two up to 256; a beam of 16 is the model's. all_judged: by the model's costs
    among all candidates, instead of among those that leave the least squared error.
    """
    tile = max(1, CANDIDATES_OF_A_TILE // (width * start.symbols.shape[1]))
    parts = [_of_tile(start, some, width, kept, all_judged) for some in rows.split(tile)]
    codes, costs = zip(*parts, strict=True)
    return torch.cat(codes), torch.cat(costs)


def _of_tile(
    start: Start, rows: Tensor, width: int, kept: int, all_judged: bool
) -> tuple[Tensor, Tensor]:
    judge = Judge.of(start, rows)
    tokens, symbols_of_token, dim = start.symbols.shape
    decoded = start.mean.expand(len(rows), 1, -1)
    codes = torch.zeros(len(rows), 1, 0, dtype=torch.int64)
    costs = torch.zeros(len(rows), 1)
    for token in range(tokens):
        symbols = start.symbols[token]
        every = judge.costs(decoded, symbols)
        if not all_judged:
            every = every.masked_fill(~judge.proposed(decoded, symbols, width), torch.inf)
        every = every.flatten(1)
        count = kept if token + 1 == tokens else width
        costs, best = every.topk(min(count, every.shape[1]), 1, largest=False)
        before, symbol = (best // symbols_of_token)[:, :, None], best % symbols_of_token
        decoded = decoded.gather(1, before.expand(-1, -1, dim)) + symbols[symbol]
        codes = torch.cat([codes.gather(1, before.expand(-1, -1, token)), symbol[:, :, None]], 2)
    return codes, costs


@torch.no_grad()
def searched(start: Start, rows: Tensor, codes: Tensor, sweeps: int) -> Tensor:
    """Returns codes [n, tokens] of which no token alone can be bettered, if the sweeps suffice."""
    found = []
    for some, code in zip(rows.split(2048), codes.split(2048), strict=True):
        judge = Judge.of(start, some)
        code = code.clone()
        places = torch.arange(code.shape[1])
        decoded = start.mean + start.symbols[places, code].sum(1)
        for _ in range(sweeps):
            for token, symbols in enumerate(start.symbols):
                others = decoded - symbols[code[:, token]]
                code[:, token] = judge.costs(others[:, None], symbols)[:, 0].argmin(1)
                decoded = others + symbols[code[:, token]]
        found.append(code)
    return torch.cat(found)
