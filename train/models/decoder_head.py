"""From a decoder's numbers to the parameters of p(x | z), and where a fresh decoder begins."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.bernoulli import Bernoulli
from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.likelihoods.channel_mixture import ChannelMixture
from ancestral.train.likelihoods.gaussian import Gaussian
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture
from ancestral.train.likelihoods.observation import Independent, Observation
from ancestral.train.models.bodies import ImageShape

ObservationName = Literal["bernoulli", "categorical", "logistic_mixture", "gaussian"]
Scale = Literal["fixed", "learned", "per_pixel"]
_LOG_SCALE = -2.0
"""Of a fresh mixture's components, where the levels span 2."""


@dataclass(frozen=True, slots=True)
class ObservationConfig:
    """Which p(x | z) a decoder has.

    Attributes:
        likelihood: of a value.
        components: of a logistic mixture.
        scale: of a Gaussian: fixed at `scale_value`, one that is learned for all, or one for each
            pixel.
        scale_value: where a Gaussian's scale begins, or stays; the levels together span 1.
        least_scale: floor of a Gaussian's scale.

    Raises:
        InvalidInput: a value outside its range.
    """

    likelihood: ObservationName = "categorical"
    components: int = 5
    scale: Scale = "learned"
    scale_value: float = 0.1
    least_scale: float = 1e-3

    def __post_init__(self) -> None:
        if self.likelihood not in get_args(ObservationName) or self.scale not in get_args(Scale):
            raise InvalidInput(
                f"observation: expected one of {get_args(ObservationName)} with a scale of "
                f"{get_args(Scale)}, got {self.likelihood!r} and {self.scale!r}"
            )
        if self.components < 1 or not 0 < self.least_scale <= self.scale_value < math.inf:
            raise InvalidInput(
                f"observation: expected components >= 1 and 0 < least_scale <= scale_value, got "
                f"{self.components}, {self.least_scale} and {self.scale_value}"
            )


def observation(config: ObservationConfig, data: DataSpec) -> Observation:
    """p(x | z) over these events.

    Raises:
        InvalidInput: the data have levels that the likelihood has not.
    """
    match config.likelihood:
        case "bernoulli":
            return Independent(Bernoulli(data.levels), data.length)
        case "categorical":
            return Independent(Categorical(data.levels), data.length)
        case "gaussian":
            return Independent(Gaussian(data.levels, config.least_scale), data.length)
        case "logistic_mixture":
            mixture = LogisticMixture(data.levels, config.components)
            if len(data.event_shape) < 3:
                return Independent(mixture, data.length)
            image = ImageShape.of(data.event_shape)
            pixels = image.height * image.width
            return ChannelMixture(mixture, pixels, image.channels, image.channels_last)


class DecoderHead(nn.Module):
    """Numbers [b, n, network] -> parameters [b, n, p]: a shift, and a Gaussian's common scale."""

    def __init__(self, config: ObservationConfig, target: Observation) -> None:
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


def _start(config: ObservationConfig, target: Observation) -> Tensor:
    """Parameters of a fresh decoder where its numbers are 0: broad, and alike for all values."""
    # A tensor of its own: a view of a larger one is no weight that a file can hold.
    start = torch.zeros(target.shape[1])
    if config.likelihood == "gaussian":
        start[:] = torch.tensor([0.5, math.log(config.scale_value)])
    if config.likelihood == "logistic_mixture":
        k = config.components
        channels = target.channels if isinstance(target, ChannelMixture) else 1
        start[k : k * (1 + channels)] = ((2 * torch.arange(k) + 1) / k - 1).repeat(channels)
        start[k * (1 + channels) : k * (1 + 2 * channels)] = _LOG_SCALE
    return start
