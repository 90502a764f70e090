"""From a decoder's numbers to the parameters of p(x | z), and where a fresh decoder begins."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.train.likelihoods.channel_mixture import ChannelMixture
from ancestral.train.likelihoods.choice import choose
from ancestral.train.likelihoods.gaussian import Gaussian
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture, fresh_mixture
from ancestral.train.likelihoods.observation import Independent, Observation
from ancestral.train.models.decoder_config import DecoderConfig, ImageShape


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
    if config.likelihood == "gaussian":
        return torch.tensor([0.5, math.log(config.scale_value)])
    return torch.zeros(target.shape[1])
