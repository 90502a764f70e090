"""From a decoder's numbers to the parameters of p(x | z), and where a fresh decoder begins."""

import math
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.train.likelihoods.channel_mixture import ChannelMixture
from ancestral.train.likelihoods.choice import choose
from ancestral.train.likelihoods.gaussian import Gaussian
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture, fresh_mixture
from ancestral.train.likelihoods.observation import Independent, Observation
from ancestral.train.models.bodies import ImageShape, Scales, Upsample
from ancestral.train.models.configuration import (
    Count,
    LatentConfig,
    Natural,
    Positive,
    Rate,
    configuration,
)


@configuration
class DecoderConfig(LatentConfig):
    """Which p(x | z) a decoder has, and the convolutions of a body that has them.

    Attributes:
        likelihood: of a value.
        components: of a logistic mixture.
        scale: of a Gaussian: fixed at `scale_value`, one that is learned for all, or one for each
            pixel.
        scale_value: where a Gaussian's scale begins, or stays; the levels together span 1.
        least_scale: floor of a Gaussian's scale.
        widths: channels of each scale.
        blocks: residual blocks at each scale.
        upsample: transposed, or resize and convolve.
        dropout: in hidden layers and blocks.
    """

    likelihood: Literal["bernoulli", "categorical", "logistic_mixture", "gaussian"] = "categorical"
    components: Count = 5
    scale: Literal["fixed", "learned", "per_pixel"] = "learned"
    scale_value: Positive = 0.1
    least_scale: Positive = 1e-3
    widths: tuple[Count, ...] = ()
    blocks: Natural = 1
    upsample: Upsample = "transposed"
    dropout: Rate = 0.0

    def problems(self) -> Iterator[str]:
        """What is wrong between fields."""
        if self.least_scale > self.scale_value:
            yield (
                f"expected least_scale <= scale_value, got {self.least_scale} and "
                f"{self.scale_value}"
            )

    @property
    def scales(self) -> Scales:
        """The convolutions."""
        return Scales(self.widths, self.blocks, self.upsample, self.dropout)


def observation(config: DecoderConfig, data: DataSpec) -> Observation:
    """p(x | z) over these events.

    Raises:
        InvalidInput: the data have levels that the likelihood has not.
    """
    if config.likelihood == "gaussian":
        return Independent(Gaussian(data.levels, config.least_scale), data.length)
    likelihood = choose(config.likelihood, data.levels, config.components)
    if isinstance(likelihood, LogisticMixture) and len(data.event_shape) == 3:
        image = ImageShape.of(data.event_shape)
        pixels = image.height * image.width
        return ChannelMixture(likelihood, pixels, image.channels, image.channels_last)
    return Independent(likelihood, data.length)


class DecoderOutput(nn.Module):
    """Numbers [b, n, network] -> parameters [b, n, p]: a shift, and a Gaussian's common scale."""

    def __init__(self, config: DecoderConfig, target: Observation) -> None:
        super().__init__()
        self.common = config.likelihood == "gaussian" and config.scale != "per_pixel"
        start = _start(config, target)
        self.width = 1 if self.common else len(start)
        self.shift = nn.Parameter(start[: self.width].clone())
        scale = torch.tensor(math.log(config.scale_value))
        if self.common and config.scale == "learned":
            self.log_scale = nn.Parameter(scale)
        elif self.common:
            self.register_buffer("log_scale", scale)

    def forward(self, numbers: Float[Tensor, "b n w"]) -> Float[Tensor, "b n p"]:
        """Parameters of p(x | z)."""
        shifted = numbers + self.shift
        if not self.common:
            return shifted
        return torch.cat([shifted, self.log_scale.expand_as(shifted)], dim=-1)


def _start(config: DecoderConfig, target: Observation) -> Tensor:
    """Parameters of a fresh decoder where its numbers are 0: broad, and alike for all values."""
    if config.likelihood == "logistic_mixture":
        channels = target.channels if isinstance(target, ChannelMixture) else 1
        return fresh_mixture(config.components, channels)
    # A tensor of its own: a view of a larger one is not a weight that a file can hold.
    start = torch.zeros(target.shape[1])
    if config.likelihood == "gaussian":
        start[:] = torch.tensor([0.5, math.log(config.scale_value)])
    return start
