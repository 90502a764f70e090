"""WaveNet: dilated causal convolutions in one dimension, gated, with residual and skip paths.

Each layer sees its input at the current position and `dilation` positions earlier. Sampling keeps a
ring buffer of each layer's last inputs, so a step costs the same for any receptive field.

References:
    van den Oord et al. (2016), WaveNet, arXiv:1609.03499, sections 2.1 to 2.5.
    Paine et al. (2016), Fast WaveNet generation algorithm, arXiv:1611.09482.
"""

from typing import Annotated, final

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.signature import CacheEntry
from ancestral.train.models.autoregressive import Cache, Events, Features, Label, Positions, Tokens
from ancestral.train.models.configuration import Count, configuration
from ancestral.train.models.inputs import SequenceNetwork
from ancestral.train.models.layers import LastProjection, Linear, dropout, embedding, gated
from ancestral.train.models.network import SequenceConfig, ring_entry
from ancestral.triton_kernels.ring import ring

Dilation = Annotated[int, Field(ge=1, le=2**20)]
"""Dilation of a layer in positions; its ring of inputs is one longer."""


@configuration
class WaveNetConfig(SequenceConfig):
    """Configuration of a WaveNet; the attributes of `SequenceConfig` apply too.

    Attributes:
        positions: whether each position has a learned vector.
        dilations: dilation of each layer, in positions; the receptive field is 1 + their sum.
        skip: width of the skip path and of the hidden layer after it.

    Raises:
        InvalidInput: a value is out of range.
    """

    positions: bool = True
    dilations: Annotated[tuple[Dilation, ...], Field(min_length=1)] = (1, 2, 4, 8, 16, 32)
    skip: Count = 128


class _Layer(nn.Module):
    """Gates the current and the dilated input; feeds the residual and the skip path."""

    def __init__(self, width: int, skip: int, classes: int, depth: int) -> None:
        super().__init__()
        self.gates = Linear(2 * width, 2 * width)
        self.label = embedding(classes, 2 * width, width**-0.5) if classes else None
        self.residual = Linear(width, width, scale=depth**-0.5)
        self.skip = Linear(width, skip, scale=depth**-0.5)

    def forward(
        self, h: Float[Tensor, "b s d"], past: Float[Tensor, "b s d"], label: Label
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s e"]]:
        """Return the residual path, and the layer's part of the skip path.

        Args:
            h: input of the layer, [b, s, d].
            past: input of the layer `dilation` positions earlier, [b, s, d].
            label: class of each event, [b]; None for data without labels.
        """
        mixed = self.gates(torch.cat([past, h], dim=-1))
        if self.label is not None and label is not None:
            mixed = mixed + self.label(label)[:, None]
        z = gated(mixed)
        return h + self.residual(z), self.skip(z)


@final
class WaveNet(SequenceNetwork):
    """Dilated causal convolutions over the positions of an event.

    References:
        van den Oord et al. (2016), WaveNet, arXiv:1609.03499, sections 2.1 to 2.5.
    """

    takes_blocks = False

    def __init__(self, config: WaveNetConfig, data: DataSpec) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            config: shape of the network.
            data: space of the events.

        Raises:
            InvalidInput: the configuration does not fit the data (see `Inputs`).
        """
        super().__init__(config, data, positions=config.positions)
        self.config = config
        self.layers = nn.ModuleList(
            _Layer(config.width, config.skip, self.classes, len(config.dilations))
            for _ in config.dilations
        )
        self.hidden = Linear(config.skip, config.skip)
        self.head = LastProjection(config.skip, self.likelihood)

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """A ring of each layer's inputs, of length dilation + 1."""
        rings = tuple(
            ring_entry(f"ring_{i}", dilation + 1, self.config.width)
            for i, dilation in enumerate(self.config.dilations)
        )
        return (*rings, *self.inputs.cache_spec)

    def predict(self, x: Events, label: Label) -> Float[Tensor, "b t p"]:
        """Predict all positions in one pass; before the first position there are zeros."""
        h, skips = self.inputs.parallel(x, label), []
        t = h.shape[1]
        for layer, dilation in zip(self.layers, self.config.dilations, strict=True):
            h = dropout(h, self.config.dropout, self.training)
            past = nn.functional.pad(h, (0, 0, dilation, 0))[:, :t]
            h, skip = layer(h, past, label)
            skips.append(skip)
        return self._predicted(torch.stack(skips).sum(dim=0))

    def _extended(
        self, tokens: Tokens, position: Positions, cache: Cache, label: Label
    ) -> tuple[Features, dict[str, Tensor]]:
        """Compute one position; rings hold each layer's input of `dilation` positions ago."""
        new = dict(cache)
        h, skips = self.inputs.extend(tokens, position, new, label), []
        for i, (layer, dilation) in enumerate(zip(self.layers, self.config.dilations, strict=True)):
            past, new[f"ring_{i}"] = ring(cache[f"ring_{i}"], h, position, [-dilation])
            h, skip = layer(h, past, label)
            skips.append(skip)
        return torch.stack(skips).sum(dim=0), new

    def _predicted(self, h: Features) -> Float[Tensor, "b s p"]:
        return self.head(self.hidden(h.relu()).relu())
