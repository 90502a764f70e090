"""WaveNet: dilated causal convolutions in one dimension, gated, with residual and skip paths.

Each layer sees its input at this position and `dilation` positions before. Sampling keeps a ring of
each layer's last inputs, so that a step costs the same however far the network sees.

References:
    van den Oord et al. (2016), WaveNet, arXiv:1609.03499, sections 2.1 to 2.5.
    Paine et al. (2016), Fast WaveNet generation algorithm, arXiv:1611.09482.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ancestral.arrays import shown
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.signature import CacheEntry, Update
from ancestral.train.likelihoods.choice import choose
from ancestral.train.likelihoods.likelihood import Likelihood
from ancestral.train.models.autoregressive import AutoregressiveModel, Cache
from ancestral.train.models.block import Linear
from ancestral.train.models.dropout import dropout
from ancestral.train.models.head import Head
from ancestral.train.models.inputs import Inputs, table
from ancestral.train.models.network_config import NetworkConfig
from ancestral.triton_kernels.ring import ring

_LONGEST = 2**20
"""Of dilations, in positions: a layer's ring of inputs is as long."""


@dataclass(frozen=True, slots=True)
class WaveNetConfig(NetworkConfig):
    """Shape of the network.

    Attributes:
        dilations: of the layers; the receptive field is 1 + their sum.
        skip: width of the skip path and of the hidden layer after it.
        above: whether images feed the value above beside the previous one.
    """

    dilations: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    skip: int = 128
    above: bool = False

    def __post_init__(self) -> None:
        NetworkConfig.__post_init__(self)
        self.at_least(1, "skip")
        if not self.dilations or not all(
            type(d) is int and 1 <= d <= _LONGEST for d in self.dilations
        ):
            raise InvalidInput(
                f"WaveNetConfig.dilations: expected integers in 1 .. {_LONGEST}, got "
                f"{shown(self.dilations)}"
            )


class _Layer(nn.Module):
    """Gate what is seen now and a dilation ago; add to the residual path, give to the skip path."""

    def __init__(self, width: int, skip: int, classes: int, depth: int) -> None:
        super().__init__()
        self.gates = Linear(2 * width, 2 * width, bias=True)
        self.label = table(classes, 2 * width, width**-0.5) if classes else None
        self.residual = Linear(width, width, bias=True, scale=depth**-0.5)
        self.skip = Linear(width, skip, bias=True, scale=depth**-0.5)

    def forward(
        self,
        h: Float[Tensor, "b s d"],
        past: Float[Tensor, "b s d"],
        label: Int64[Tensor, " b"] | None,
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s e"]]:
        """The residual path, and what the skip path receives.

        Args:
            h: input of the layer.
            past: its input a dilation before.
            label: class of each event.
        """
        mixed = self.gates(torch.cat([past, h], dim=-1))
        if self.label is not None and label is not None:
            mixed = mixed + self.label(label)[:, None]
        value, gate = mixed.chunk(2, dim=-1)
        z = value.tanh() * gate.sigmoid()
        return h + self.residual(z), self.skip(z)


@final
class WaveNet(AutoregressiveModel):
    """Dilated causal convolutions over the positions of an event."""

    takes_blocks = False

    def __init__(self, config: WaveNetConfig, data: DataSpec) -> None:
        """Draw fresh weights from torch's global generator.

        Raises:
            InvalidInput: the configuration asks of the data what they have not (see Inputs).
        """
        super().__init__()
        self.config, self.data = config, data
        self.label_optional = config.label_optional
        self.inputs = Inputs(
            data,
            config.width,
            positions=config.positions,
            above=config.above,
            label_optional=config.label_optional,
        )
        classes, depth = (data.num_classes or 0) + config.label_optional, len(config.dilations)
        self.layers = nn.ModuleList(
            _Layer(config.width, config.skip, classes, depth) for _ in config.dilations
        )
        self.hidden = Linear(config.skip, config.skip, bias=True)
        self.head = Head(config.skip, self.likelihood)

    @property
    def likelihood(self) -> Likelihood:
        """As configured."""
        return choose(self.config.likelihood, self.data.levels, self.config.components)

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """A ring of each layer's inputs, as long as its dilation and one."""
        rings = tuple(
            CacheEntry(
                name=f"ring_{i}",
                dtype="float32",
                axes=("b", 1, dilation + 1, self.config.width),
                update=Update.APPEND,
            )
            for i, dilation in enumerate(self.config.dilations)
        )
        return (*rings, *self.inputs.cache_spec)

    def predict(
        self, x: Int64[Tensor, "b t"], label: Int64[Tensor, " b"] | None
    ) -> Float[Tensor, "b t p"]:
        """One pass over the event; before its first position there are zeros."""
        h, skips = self.inputs.parallel(x, label), []
        t = h.shape[1]
        for layer, dilation in zip(self.layers, self.config.dilations, strict=True):
            h = dropout(h, self.config.dropout, self.training)
            past = nn.functional.pad(h, (0, 0, dilation, 0))[:, :t]
            h, skip = layer(h, past, label)
            skips.append(skip)
        return self._output(skips)

    def extend(
        self,
        tokens: Int64[Tensor, "b s"],
        position: Int64[Tensor, " b"],
        cache: Cache,
        label: Int64[Tensor, " b"] | None,
    ) -> tuple[Float[Tensor, "b s p"], dict[str, Tensor]]:
        """One position: each layer's input goes into its ring, and comes out a dilation later."""
        new = dict(cache)
        h, skips = self.inputs.extend(tokens, position, new, label), []
        for i, (layer, dilation) in enumerate(zip(self.layers, self.config.dilations, strict=True)):
            past, new[f"ring_{i}"] = ring(cache[f"ring_{i}"], h, position, [-dilation])
            h, skip = layer(h, past, label)
            skips.append(skip)
        return self._output(skips), new

    def _output(self, skips: list[Float[Tensor, "b s e"]]) -> Float[Tensor, "b s p"]:
        hidden = self.hidden(torch.stack(skips).sum(dim=0).relu())
        return self.head(hidden.relu())
