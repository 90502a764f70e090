"""Recurrent networks: stacked GRU or LSTM layers.

References:
    Cho et al. (2014), arXiv:1406.1078 (GRU); Hochreiter and Schmidhuber (1997), Long short-term
    memory; Graves (2013), Generating sequences with recurrent neural networks, arXiv:1308.0850 (as
    models of p(x_t | x_<t)).
"""

from collections.abc import Callable
from typing import Literal, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.signature import CacheEntry
from ancestral.train.models.autoregressive import (
    Cache,
    Events,
    Features,
    Label,
    Positions,
    Tokens,
)
from ancestral.train.models.configuration import Count, configuration
from ancestral.train.models.inputs import SequenceNetwork
from ancestral.train.models.layers import LastProjection, dropout
from ancestral.train.models.network import SequenceConfig
from ancestral.triton_kernels.recurrence import gru, lstm

_STATES = {"gru": ("h",), "lstm": ("h", "c")}
_GATES = {"gru": 3, "lstm": 4}


@configuration
class RecurrentConfig(SequenceConfig):
    """Configuration of a recurrent network; the attributes of `SequenceConfig` apply too.

    Attributes:
        positions: whether each position has a learned vector.
        cell: "gru" or "lstm".
        layers: number of layers.

    Raises:
        InvalidInput: a value is out of range.
    """

    positions: bool = True
    cell: Literal["gru", "lstm"] = "gru"
    layers: Count = 2


class Layer(nn.Module):
    """Weights of one layer, stored as the operators read them."""

    def __init__(self, cell: str, width: int) -> None:
        super().__init__()
        rows, bound = _GATES[cell] * width, width**-0.5
        self.cell = cell
        shapes = {"w": (1, rows, width), "r": (1, rows, width), "bias": (1, 2 * rows)}
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.empty(shape).uniform_(-bound, bound)))

    def forward(
        self, x: Float[Tensor, "b s d"], *state: Float[Tensor, "b d"]
    ) -> tuple[Tensor, ...]:
        """Return the output at each position [b, s, d], then the carried states, [b, d] each."""
        operator: Callable[..., tuple[Tensor, ...]] = gru if self.cell == "gru" else lstm
        return operator(x, *state, self.w, self.r, self.bias)


@final
class Recurrent(SequenceNetwork):
    """Stacked GRU or LSTM layers; a step costs the same at every position.

    References:
        Cho et al. (2014), arXiv:1406.1078 (GRU); Hochreiter and Schmidhuber (1997), Long short-term
        memory.
    """

    def __init__(self, config: RecurrentConfig, data: DataSpec) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            config: shape of the network.
            data: space of the events.

        Raises:
            InvalidInput: the configuration does not fit the data (see `Inputs`).
        """
        super().__init__(config, data, positions=config.positions)
        self.config = config
        self.layers = nn.ModuleList(Layer(config.cell, config.width) for _ in range(config.layers))
        self.head = LastProjection(config.width, self.likelihood)

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """The states of every layer, replaced at each step."""
        states = tuple(
            CacheEntry(name=name, dtype="float32", axes=("b", self.config.width))
            for i in range(self.config.layers)
            for name in self._names(i)
        )
        return (*states, *self.inputs.cache_spec)

    def _names(self, layer: int) -> tuple[str, ...]:
        return tuple(f"{state}_{layer}" for state in _STATES[self.config.cell])

    def predict(self, x: Events, label: Label) -> Float[Tensor, "b t p"]:
        """Predict all positions in one pass over the event, from zero states."""
        h = self.inputs.parallel(x, label)
        zero = torch.zeros_like(h[:, 0])
        for i, layer in enumerate(self.layers):
            h = dropout(h, self.config.dropout, self.training)
            h, *_ = layer(h, *(zero for _ in self._names(i)))
        return self.head(dropout(h, self.config.dropout, self.training))

    def _extended(
        self, tokens: Tokens, position: Positions, cache: Cache, label: Label
    ) -> tuple[Features, dict[str, Tensor]]:
        """Continue from the cached states; a row at position 0 starts from zeros."""
        new = dict(cache)
        h = self.inputs.extend(tokens, position, new, label)
        fresh = (position == 0)[:, None]
        for i, layer in enumerate(self.layers):
            names = self._names(i)
            h, *states = layer(h, *(torch.where(fresh, 0.0, cache[name]) for name in names))
            new.update(zip(names, states, strict=True))
        return h, new

    def _predicted(self, h: Features) -> Float[Tensor, "b s p"]:
        return self.head(h)
