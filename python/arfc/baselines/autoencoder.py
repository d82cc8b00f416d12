"""An autoencoder: the narrow middle of a network that is trained to repeat its input."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from arfc.baselines.baseline import Baseline, Neighbourhood, Rows, Trial, explained
from arfc.baselines.pca import principal_axes
from arfc.baselines.tuning import parameter_bytes, tune

_BATCH = 256
_SETTINGS = tuple(
    {"learning_rate": rate, "hidden": hidden} for hidden in (512, 1024) for rate in (1e-3, 3e-3)
)


class _Network(nn.Module):
    """PCA and its transpose, each beside a perceptron whose last layer is zero at the start."""

    linear = ("encoder", "decoder")

    def __init__(self, axes: torch.Tensor, hidden: int) -> None:
        super().__init__()
        dim, dims = axes.shape
        self.encoder = nn.Parameter(axes.clone())
        self.decoder = nn.Parameter(axes.T.contiguous())
        self.encoder_residual = _perceptron(dim, hidden, dims)
        self.decoder_residual = _perceptron(dims, hidden, dim)

    def encode(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.encoder + self.encoder_residual(rows)

    def decode(self, rows: torch.Tensor) -> torch.Tensor:
        return rows @ self.decoder + self.decoder_residual(rows)


class Autoencoder(Baseline):
    """Compresses by the encoder of an autoencoder (Hinton & Salakhutdinov, Science 2006).

    Encoder and decoder are linear maps plus perceptrons of one hidden layer (GELU). They start as
    PCA, which is the best linear autoencoder, and minimise the squared reconstruction error by
    AdamW, so what it is better at is "explained". Rows are centred and divided by one scalar first.
    Whether the mean's own compression is added to the result, which reconstruction cannot tell,
    is decided by the held-out rows' neighbours.
    """

    name = "autoencoder"
    measure = "explained"

    def _learn(
        self,
        rows: Rows,
        held_out: Rows,
        deadline: float | None,
        generator: np.random.Generator,
    ) -> tuple[float, list[Trial], int]:
        self._mean, axes = principal_axes(rows, self.dims)
        self._scale = scale_of(rows, self._mean)
        torch_generator = torch.Generator().manual_seed(int(generator.integers(2**63)))
        inputs = torch.from_numpy((rows - self._mean) / self._scale)
        tests = torch.from_numpy((held_out - self._mean) / self._scale)
        zero = np.zeros(self.dim, np.float32)

        def make(settings: dict[str, Any]) -> nn.Module:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch_generator.initial_seed() % 2**63)
                return _Network(torch.from_numpy(axes), settings["hidden"])

        def loss(network: nn.Module) -> torch.Tensor:
            batch = inputs[torch.randint(len(inputs), (_BATCH,), generator=torch_generator)]
            return (network.decode(network.encode(batch)) - batch).square().mean()

        def measure(network: nn.Module) -> float:
            with torch.no_grad():
                repeated = network.decode(network.encode(tests)).numpy()
            return explained(tests.numpy(), repeated, zero)

        self._network, start, trials, kept = tune(make, loss, measure, _SETTINGS, deadline)
        self._choose_offset(held_out)
        return start, trials, kept

    @property
    def model_bytes(self) -> int:
        """Both networks, the mean and the offset, in bytes."""
        return parameter_bytes(self._network) + self._mean.nbytes + self._offset.nbytes

    def _choose_offset(self, held_out: Rows) -> None:
        neighbourhood = Neighbourhood(held_out)
        origin = np.zeros((1, self.dim), np.float32)
        self._offset = np.zeros(self.dims, np.float32)
        without = neighbourhood.kept(self._compress(held_out)).mean()
        self._offset = -self._compress(origin)[0]
        if without >= neighbourhood.kept(self._compress(held_out)).mean():
            self._offset = np.zeros(self.dims, np.float32)

    @torch.no_grad()
    def _compress(self, rows: Rows) -> Rows:
        scaled = torch.from_numpy((rows - self._mean) / self._scale)
        return self._network.encode(scaled).numpy() * self._scale + self._offset

    @torch.no_grad()
    def _expand(self, rows: Rows) -> Rows:
        scaled = torch.from_numpy((rows - self._offset) / self._scale)
        return self._network.decode(scaled).numpy() * self._scale + self._mean


def scale_of(rows: Rows, mean: Rows) -> np.float32:
    """Returns the root mean square of rows [n, dim] around mean [dim]; 1 where it is 0."""
    scale = np.float32(np.sqrt(np.mean(np.square(rows - mean), dtype=np.float64)))
    return scale if scale > 0 else np.float32(1)


def _perceptron(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    last = nn.Linear(hidden, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), last)
