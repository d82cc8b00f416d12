"""Gradient descent that keeps what did best on held-out rows, alike for every learned baseline."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from arfc.baselines.baseline import Trial

TRIALS_SHARE = 0.5
"""Of the time: all trials together. The rest goes on with the best of them."""
_TRIAL_STEPS = 300  # where there is no time budget
_FINAL_STEPS = 1_800
_RAMP_STEPS = 20
_MEASURE_SECONDS_SHARE = 0.1  # measuring may take that much of the time
_MEASURE_STEPS = 25  # at least that many between two measurements
_CLIP = 1.0  # of the gradient's norm
_BETAS = (0.9, 0.999)
_WEIGHT_DECAY = 0.01


class _Adam:
    """Adam with decoupled weight decay (Loshchilov & Hutter, ICLR 2019).

    Not torch's: making one imports torch's compiler, four seconds of processor time that would come
    out of the first fit's budget.
    """

    def __init__(self, network: nn.Module, linear_share: float) -> None:
        self._parameters = list(network.parameters())
        self._shares = [
            linear_share if name in network.linear else 1.0
            for name, _ in network.named_parameters()
        ]
        self._first = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._second = [torch.zeros_like(parameter) for parameter in self._parameters]
        self._steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Follows the parameters' gradients, their common norm clipped, and forgets them."""
        self._steps += 1
        squares = sum(float(parameter.grad.square().sum()) for parameter in self._parameters)
        shrink = min(1.0, _CLIP / max(squares**0.5, 1e-12))
        bias = (1 - _BETAS[0] ** self._steps, 1 - _BETAS[1] ** self._steps)
        for parameter, first, second, share in zip(
            self._parameters, self._first, self._second, self._shares, strict=True
        ):
            gradient = parameter.grad.mul_(shrink)
            first.lerp_(gradient, 1 - _BETAS[0])
            second.mul_(_BETAS[1]).addcmul_(gradient, gradient, value=1 - _BETAS[1])
            parameter.mul_(1 - share * rate * _WEIGHT_DECAY)
            spread = (second / bias[1]).sqrt_().add_(1e-8)
            parameter.addcdiv_(first, spread, value=-share * rate / bias[0])
            parameter.grad = None


class _Run:
    """A network, its optimiser, and the best that it has been."""

    def __init__(
        self,
        network: nn.Module,
        settings: dict[str, Any],
        loss: Callable[[nn.Module], torch.Tensor],
        measure: Callable[[nn.Module], float],
        start: float,
    ) -> None:
        self.network = network
        self._rate = settings["learning_rate"]
        self._loss = loss
        self._measure = measure
        self._optimiser = _Adam(network, settings.get("linear_share", 1.0))
        self.steps = 0
        self.seconds = 0.0
        self._measuring = 0.0
        self.best = start
        self.best_state = copy.deepcopy(network.state_dict())

    def go(self, seconds: float | None, steps: int, anneal: bool) -> None:
        """Takes steps until the time or, without one, their number is spent.

        anneal  Lower the rate to zero along a cosine.
        """
        started = time.process_time()
        spent_before, steps_before = self.seconds, self.steps
        last_measured = self.steps
        while True:
            elapsed = time.process_time() - started
            share = (self.steps - steps_before) / steps if seconds is None else elapsed / seconds
            if share >= 1:
                break
            rate = self._rate * min(1.0, (self.steps + 1) / _RAMP_STEPS)
            if anneal:
                rate *= 0.5 * (1 + math.cos(math.pi * share))
            self._loss(self.network).backward()
            self._optimiser.step(rate)
            self.steps += 1
            due = self.steps - last_measured >= _MEASURE_STEPS
            affordable = seconds is None or (
                self._measuring
                <= _MEASURE_SECONDS_SHARE * (spent_before + time.process_time() - started)
            )
            if due and affordable:
                self._look()
                last_measured = self.steps
        if self.steps > last_measured:
            self._look()
        self.seconds = spent_before + time.process_time() - started

    def _look(self) -> None:
        started = time.process_time()
        value = self._measure(self.network)
        if value > self.best:
            self.best = value
            self.best_state = copy.deepcopy(self.network.state_dict())
        self._measuring += time.process_time() - started


def tune(
    make: Callable[[dict[str, Any]], nn.Module],
    loss: Callable[[nn.Module], torch.Tensor],
    measure: Callable[[nn.Module], float],
    settings: Sequence[dict[str, Any]],
    deadline: float | None,
) -> tuple[nn.Module, float, list[Trial], int]:
    """Tries settings for equal times, goes on with the best, and returns the best that was seen.

    make      A network by its settings, the same function as every other one before training. Its
              attribute `linear` names the parameters that a linear map begins as PCA.
    loss      Of a batch that it draws itself; to be minimised.
    measure   On held-out rows; larger = better.
    settings  Each has "learning_rate", may have "linear_share", what share of it the parameters of
              `linear` learn at (they begin in a good place; absent: all), and what `make` reads.
    deadline  Of time.process_time(); None: a fixed number of steps.

    Returns the network in evaluation mode, the measure at the start, the trials, and the kept one's
    place; its trial counts the steps and seconds of both stages. No trial can end below the start,
    which counts as a candidate.
    """
    networks = [make(choice) for choice in settings]
    start = measure(networks[0])
    each = None
    if deadline is not None:
        each = max(1e-6, TRIALS_SHARE * (deadline - time.process_time()) / len(settings))
    runs: list[_Run] = []
    for network, choice in zip(networks, settings, strict=True):
        run = _Run(network, choice, loss, measure, start)
        run.go(each, _TRIAL_STEPS, anneal=False)
        runs.append(run)
    kept = max(range(len(runs)), key=lambda place: runs[place].best)
    best = runs[kept]
    best.network.load_state_dict(best.best_state)
    final = None if deadline is None else max(1e-6, deadline - time.process_time())
    best.go(final, _FINAL_STEPS, anneal=True)
    best.network.load_state_dict(best.best_state)
    best.network.eval().requires_grad_(False)
    trials = [
        Trial(choice, run.seconds, run.steps, run.best)
        for choice, run in zip(settings, runs, strict=True)
    ]
    return best.network, start, trials, kept


def parameter_bytes(network: nn.Module) -> int:
    """Returns the size of a network's parameters and buffers."""
    tensors = (*network.parameters(), *network.buffers())
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
