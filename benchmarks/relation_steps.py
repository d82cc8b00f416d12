"""What arfc's relations learn from, step by step, for prototypes of networks in torch."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

SYMBOLS = 256
HELD_OUT = 1000  # first rows, which measure
COMPARED = 8192  # rows behind them, among which they look, too
NEIGHBOURS = 32
TEMPERATURE = 0.05
ANCHORS, NEAR, OTHERS = 96, 8, 384
WARM_UP = 50


def best_others(scores: Tensor) -> Tensor:
    return scores.fill_diagonal_(-math.inf).topk(10, 1).indices


def share_found(found: Tensor, truth: Tensor) -> float:
    """Returns recall of places [n, 10]."""
    return (found[:, :, None] == truth[:, None]).any(2).float().mean().item()


def nearest_others(rows: Tensor) -> Tensor:
    """Returns the places of each row's nearest others [n, 32]."""
    near = []
    for first in range(0, len(rows), 512):
        scores = rows[first : first + 512] @ rows.T
        scores[range(len(scores)), range(first, first + len(scores))] = -math.inf
        near.append(scores.topk(NEIGHBOURS, 1).indices)
    return torch.cat(near)


def edges(scores: Tensor, itself: Tensor) -> Tensor:
    """Returns logarithms of a graph's edges."""
    return torch.log_softmax((scores / TEMPERATURE).masked_fill(itself, -1e4), 1)


def drawn_step(random: np.random.Generator, near: Tensor) -> tuple[Tensor, Tensor]:
    """Draws the places of a step's anchors, and of the rows that they are compared with: some of
    their nearest, and any others.
    """

    def drawn(count: int, below: int) -> Tensor:
        return torch.from_numpy(random.integers(0, below, count))

    anchors = drawn(ANCHORS, len(near))
    nearest = near[anchors][:, drawn(NEAR, NEIGHBOURS)].flatten()
    return anchors, torch.cat([nearest, drawn(OTHERS, len(near))])


def rate_share(step: int, steps: int) -> float:
    """Returns the share of the learning rate that a step has."""
    warm = min(1.0, (step + 1) / WARM_UP)
    return warm * 0.5 * (1 + math.cos(math.pi * step / steps))
