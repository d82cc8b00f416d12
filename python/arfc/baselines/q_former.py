"""A Q-Former: learned queries that read a feature, cut into chunk tokens, by cross-attention."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from arfc.baselines.autoencoder import scale_of
from arfc.baselines.baseline import Baseline, Neighbourhood, Rows, Trial, nearest_others
from arfc.baselines.pca import principal_axes
from arfc.baselines.tuning import parameter_bytes, tune

_CHUNKS = 16
_QUERIES = 8
_HEADS = 2
_WIDTH = 32
_ANCHORS = 32
_NEAREST = 32  # of which each step draws
_DRAWN = 4
_RANDOM = 96
_TEMPERATURE = 0.05
_MOST_ANCHOR_ROWS = 8_000  # their neighbours are found exhaustively, out of the budget
_BLOCK_ROWS = 1_024
_SETTINGS = tuple(
    {"learning_rate": rate, "linear_share": share} for rate in (1e-3, 3e-3) for share in (0.1, 1.0)
)


class _Layer(nn.Module):
    """Queries read the tokens, then each other, then think: the block of BLIP-2, norms first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.cross_norm, self.token_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.cross = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.self_norm = nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, _HEADS, batch_first=True)
        self.thought = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, queries: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        tokens = self.token_norm(tokens)
        asked = self.cross_norm(queries)
        queries = queries + self.cross(asked, tokens, tokens, need_weights=False)[0]
        own = self.self_norm(queries)
        queries = queries + self.self_attention(own, own, own, need_weights=False)[0]
        return queries + self.thought(queries)


class _Network(nn.Module):
    linear = ("skip", "offset")

    def __init__(self, axes: torch.Tensor, offset: torch.Tensor, width: int) -> None:
        super().__init__()
        dim, dims = axes.shape
        chunks, queries = min(_CHUNKS, dim), min(_QUERIES, dims)
        self.dims = dims
        self.chunk = -(-dim // chunks)
        self.chunks = -(-dim // self.chunk)
        self.skip = nn.Parameter(axes.clone())
        self.offset = nn.Parameter(offset.clone())
        # A map of its own for each chunk: positions within a feature have nothing in common.
        self.embedding = nn.Parameter(torch.randn(self.chunks, self.chunk, width) / self.chunk**0.5)
        self.place = nn.Parameter(0.02 * torch.randn(self.chunks, width))
        self.queries = nn.Parameter(torch.randn(queries, width))
        self.layers = nn.ModuleList([_Layer(width), _Layer(width)])
        self.norm = nn.LayerNorm(width)
        self.head = nn.Parameter(torch.zeros(queries, width, -(-dims // queries)))
        # Learned, because a compressed feature's cosines need not spread as the originals' do.
        self.sharpness = nn.Parameter(torch.tensor(1 / _TEMPERATURE).log())

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        padding = self.chunk * self.chunks - rows.shape[1]
        cut = nn.functional.pad(rows, (0, padding)).view(len(rows), self.chunks, self.chunk)
        tokens = torch.einsum("ncs,csw->ncw", cut, self.embedding) + self.place
        queries = self.queries.expand(len(rows), -1, -1)
        for layer in self.layers:
            queries = layer(queries, tokens)
        answers = torch.einsum("nqw,qwo->nqo", self.norm(queries), self.head)
        return rows @ self.skip + self.offset + answers.flatten(1)[:, : self.dims]


class QFormer(Baseline):
    """Compresses by a Q-Former (BLIP-2; Li et al., ICML 2023) over one feature.

    The feature is cut into 16 chunks, each embedded by a map of its own; 8 learned queries attend
    to them and to each other through two layers, and their outputs, side by side, are the
    compressed feature. Around that goes a linear map that starts as `Pca`, and the queries' last
    layer starts at zero, so step 0 is PCA.

    There is no text to contrast with, so what the feature was good for takes its place: for each
    row of a batch, the softmax (temperature .05) over cosines to the others, near ones among them,
    shall be the same before and after (relational distillation; Park et al., CVPR 2019, in the
    listwise form). What it is better at is "neighbours". It has no decoder.
    """

    name = "q_former"
    measure = "neighbours"

    def _learn(
        self,
        rows: Rows,
        held_out: Rows,
        deadline: float | None,
        generator: np.random.Generator,
    ) -> tuple[float, list[Trial], int]:
        self._mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        self._scale = scale_of(rows, self._mean)
        axes, offset = self._starting_map(rows, held_out)
        neighbourhood = Neighbourhood(held_out)
        torch_generator = torch.Generator().manual_seed(int(generator.integers(2**63)))
        anchors = len(rows)
        if anchors > _MOST_ANCHOR_ROWS:
            anchors = _MOST_ANCHOR_ROWS
            rows = rows[generator.permutation(len(rows))]
        nearest = torch.from_numpy(nearest_others(rows[:anchors], min(_NEAREST, anchors - 1)))
        inputs = torch.from_numpy((rows - self._mean) / self._scale)
        units = nn.functional.normalize(torch.from_numpy(rows), dim=1)
        tests = torch.from_numpy((held_out - self._mean) / self._scale)

        def make(settings: dict[str, Any]) -> nn.Module:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(torch_generator.initial_seed() % 2**63)
                return _Network(axes, offset, _WIDTH)

        def loss(network: nn.Module) -> torch.Tensor:
            batch = _batch(anchors, len(inputs), nearest, torch_generator)
            alike = units[batch] @ units[batch].T / _TEMPERATURE
            compressed = nn.functional.normalize(network(inputs[batch]), dim=1)
            likely = compressed @ compressed.T * network.sharpness.exp()
            # A row itself would take nearly all of its softmax.
            own = torch.eye(len(batch), dtype=torch.bool)
            wanted = alike.masked_fill(own, -1e4).log_softmax(dim=1)
            given = likely.masked_fill(own, -1e4).log_softmax(dim=1)
            return (wanted.exp() * (wanted - given)).sum(dim=1).mean()

        def measure(network: nn.Module) -> float:
            return float(neighbourhood.kept(_applied(network, tests)).mean())

        self._network, start, trials, kept = tune(make, loss, measure, _SETTINGS, deadline)
        return start, trials, kept

    @property
    def model_bytes(self) -> int:
        """The network and the mean, in bytes."""
        return parameter_bytes(self._network) + self._mean.nbytes

    def _starting_map(self, rows: Rows, held_out: Rows) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns the axes and the offset with which scaled rows give what `Pca` would give."""
        neighbourhood = Neighbourhood(held_out)
        candidates = []
        for centred in (True, False):
            mean, axes = principal_axes(rows, self.dims, centred)
            kept = float(neighbourhood.kept((held_out - mean) @ axes).mean())
            candidates.append((kept, axes, (self._mean - mean) @ axes / self._scale))
        _, axes, offset = max(candidates, key=lambda candidate: candidate[0])
        return torch.from_numpy(axes), torch.from_numpy(offset.astype(np.float32))

    def _compress(self, rows: Rows) -> Rows:
        scaled = torch.from_numpy((rows - self._mean) / self._scale)
        return _applied(self._network, scaled) * self._scale


def _batch(
    anchors: int, rows: int, nearest: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    """Returns distinct rows: some anchors, some of the nearest of each, and some of all rows."""
    asking = torch.randperm(anchors, generator=generator)[:_ANCHORS]
    drawn = torch.randint(nearest.shape[1], (len(asking), _DRAWN), generator=generator)
    near = nearest[asking[:, None], drawn].flatten()
    random = torch.randint(rows, (_RANDOM,), generator=generator)
    return torch.unique(torch.cat([asking, near, random]))


def _applied(network: nn.Module, rows: torch.Tensor) -> Rows:
    out = np.empty((len(rows), network.dims), np.float32)
    with torch.no_grad():
        for first in range(0, len(rows), _BLOCK_ROWS):
            block = slice(first, first + _BLOCK_ROWS)
            out[block] = network(rows[block]).numpy()
    return out
