"""Decoders: their configuration, and the parameters of p(x | z) that their outputs become."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.channel_mixture import ChannelMixture
from ancestral.train.likelihoods.choice import choose
from ancestral.train.likelihoods.gaussian import Gaussian
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture, fresh_mixture
from ancestral.train.likelihoods.observation import Independent, Observation
from ancestral.train.models.configuration import (
    Count,
    LatentConfig,
    Natural,
    Positive,
    Rate,
    configuration,
)

_MOST_SCALES = 32
"""Largest number of scales whose stride is written as a number in a message."""


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Height, width and channels of an event, and the position of the channels.

    >>> ImageShape.of((3, 32, 32))
    ImageShape(height=32, width=32, channels=3, channels_last=False)
    """

    height: int
    width: int
    channels: int
    channels_last: bool

    @classmethod
    def of(cls, event_shape: tuple[int, ...]) -> "ImageShape":
        """Return the image shape of an event: [h, w], or with 1 or 3 channels first or last.

        Raises:
            InvalidInput: the event is not an image.
        """
        if len(event_shape) == 2:
            return cls(*event_shape, channels=1, channels_last=True)
        if len(event_shape) == 3 and event_shape[2] in (1, 3):
            return cls(*event_shape, channels_last=True)
        if len(event_shape) == 3 and event_shape[0] in (1, 3):
            channels, height, width = event_shape
            return cls(height, width, channels, channels_last=False)
        raise InvalidInput(
            f"convolutions: expected events [height, width], or with 1 or 3 channels first or "
            f"last, got {event_shape}"
        )

    def planes(self, x: Float[Tensor, "b t"]) -> Float[Tensor, "b c h w"]:
        """Reshape the values of events to planes."""
        if self.channels_last:
            shape = (self.height, self.width, self.channels)
            return x.unflatten(1, shape).permute(0, 3, 1, 2)
        return x.unflatten(1, (self.channels, self.height, self.width))

    def values(self, planes: Float[Tensor, "b q h w"], each: int) -> Float[Tensor, "b t p"]:
        """Reshape planes, with p = each per channel, to numbers for the values of an event."""
        split = planes.unflatten(1, (self.channels, each))
        order = (0, 3, 4, 1, 2) if self.channels_last else (0, 1, 3, 4, 2)
        return split.permute(order).flatten(1, 3)


@configuration
class DecoderConfig(LatentConfig):
    """Configuration of p(x | z), and of the convolutions of a decoder that has them.

    Attributes:
        likelihood: likelihood of a value.
        components: number of components of a logistic mixture.
        scale: scale of a Gaussian: fixed at `scale_value`, learned and common to all values, or
            predicted for each pixel.
        scale_value: fixed or initial scale of a Gaussian; all levels together span 1.
        least_scale: smallest scale of a Gaussian, likewise.
        widths: channels of each scale; the first is at full size, each next one at half.
        blocks: residual blocks at each scale.
        upsample: how a decoder doubles the size: by a transposed convolution, or by
            nearest-neighbour upsampling and a convolution.
        dropout: dropout rate in hidden layers and blocks.

    Raises:
        InvalidInput: a value is out of range, or fields contradict each other.
    """

    likelihood: Literal["bernoulli", "categorical", "logistic_mixture", "gaussian"] = "categorical"
    components: Count = 5
    scale: Literal["fixed", "learned", "per_pixel"] = "learned"
    scale_value: Positive = 0.1
    least_scale: Positive = 1e-3
    widths: tuple[Count, ...] = ()
    blocks: Natural = 1
    upsample: Literal["transposed", "resize"] = "transposed"
    dropout: Rate = 0.0

    def problems(self) -> Iterator[str]:
        """Yield a line for each contradiction between fields."""
        if self.least_scale > self.scale_value:
            yield (
                f"least_scale: expected at most scale_value = {self.scale_value}, got "
                f"{self.least_scale}"
            )

    @property
    def stride(self) -> int:
        """Factor by which the features are smaller than the image, along each side."""
        return int(2 ** (len(self.widths) - 1))

    def grid(self, image: ImageShape) -> tuple[int, int]:
        """Return the height and width of the features.

        Raises:
            InvalidInput: the stride does not divide the height and width of the image.
        """
        if image.height % self.stride or image.width % self.stride:
            scales = len(self.widths)
            stride = str(self.stride) if scales <= _MOST_SCALES else f"2^{scales - 1}"
            raise InvalidInput(
                f"convolutions: expected a height and a width divisible by {stride} "
                f"({len(self.widths)} scales), got {image.height} x {image.width}"
            )
        return image.height // self.stride, image.width // self.stride


def observation(config: DecoderConfig, data: DataSpec) -> Observation:
    """Return p(x | z) over these events.

    Raises:
        InvalidInput: the likelihood does not support the levels or the shape of the data.
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
    """Maps outputs [b, n, w] of a decoder to parameters [b, n, p].

    It adds a learned shift and, for a Gaussian with a common scale, appends the log of that scale.
    """

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
        """Return the parameters of p(x | z)."""
        shifted = numbers + self.shift
        if not self.common:
            return shifted
        return torch.cat([shifted, self.log_scale.expand_as(shifted)], dim=-1)


def _start(config: DecoderConfig, target: Observation) -> Tensor:
    """Return the parameters for outputs of 0: broad, and the same for all values."""
    if config.likelihood == "logistic_mixture":
        channels = target.channels if isinstance(target, ChannelMixture) else 1
        return fresh_mixture(config.components, channels)
    if config.likelihood == "gaussian":
        return torch.tensor([0.5, math.log(config.scale_value)])
    return torch.zeros(target.shape[1])
