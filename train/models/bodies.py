"""What encoders and decoders are made of: perceptrons, and residual convolutions at several scales.

A body maps an event, scaled to [-1, 1], to features, and features to numbers for each value.
"""

import math
from collections import OrderedDict
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.errors import InvalidInput
from ancestral.train.models.layers import CastingConv2d, CastingLinear, WideConv2d, WideLinear

Upsample = Literal["transposed", "resize"]
_MOST_SCALES = 32
"""Scales of which the stride is written out in a message."""


@dataclass(frozen=True, slots=True)
class ImageShape:
    """Height, width and channels of an event, and where the channels stand.

    >>> ImageShape.of((3, 32, 32))
    ImageShape(height=32, width=32, channels=3, channels_last=False)
    """

    height: int
    width: int
    channels: int
    channels_last: bool

    @classmethod
    def of(cls, event_shape: tuple[int, ...]) -> "ImageShape":
        """The image that an event is: [h, w], or with 1 or 3 channels first or last.

        Raises:
            InvalidInput: it is none.
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
        """Values of events as planes."""
        if self.channels_last:
            shape = (self.height, self.width, self.channels)
            return x.unflatten(1, shape).permute(0, 3, 1, 2)
        return x.unflatten(1, (self.channels, self.height, self.width))

    def values(self, planes: Float[Tensor, "b q h w"], each: int) -> Float[Tensor, "b t p"]:
        """Planes, p = each for each channel, as numbers of the values of an event."""
        split = planes.unflatten(1, (self.channels, each))
        order = (0, 3, 4, 1, 2) if self.channels_last else (0, 1, 3, 4, 2)
        return split.permute(order).flatten(1, 3)


@dataclass(frozen=True, slots=True)
class Scales:
    """Channels at each scale, the first at full size; each next one has half the height and width.

    Attributes:
        widths: channels.
        blocks: residual blocks at each scale.
        upsample: how a decoder doubles: a transposed convolution, or nearest neighbours and a
            convolution.
        dropout: inside the blocks.
    """

    widths: tuple[int, ...]
    blocks: int
    upsample: Upsample
    dropout: float

    @property
    def stride(self) -> int:
        """How much smaller the features are than the image."""
        return int(2 ** (len(self.widths) - 1))

    def grid(self, image: ImageShape) -> tuple[int, int]:
        """Height and width of the features.

        Raises:
            InvalidInput: the stride does not divide the image.
        """
        if image.height % self.stride or image.width % self.stride:
            scales = len(self.widths)
            stride = str(self.stride) if scales <= _MOST_SCALES else f"2^{scales - 1}"
            raise InvalidInput(
                f"convolutions: expected a height and a width that {stride} divides "
                f"({len(self.widths)} scales), got {image.height} x {image.width}"
            )
        return image.height // self.stride, image.width // self.stride


class Residual(nn.Module):
    """x + conv(act(norm(conv(act(norm(x))))))."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norms = nn.ModuleList(group_norm(width) for _ in range(2))
        self.convs = nn.ModuleList(CastingConv2d(width, width, 3, padding=1) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        nn.init.zeros_(self.convs[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        h = self.convs[0](nn.functional.silu(self.norms[0](x)))
        return x + self.convs[1](self.dropout(nn.functional.silu(self.norms[1](h))))


def group_norm(width: int) -> nn.GroupNorm:
    """Groups of at least 4 channels, at most 8 of them; one where no such number divides them."""
    return nn.GroupNorm(math.gcd(8, max(1, width // 4), width), width)


class ImageEncoder(nn.Module):
    """Values of an event -> features at the last scale."""

    def __init__(self, image: ImageShape, scales: Scales) -> None:
        super().__init__()
        self.image = image
        layers: list[nn.Module] = [CastingConv2d(image.channels, scales.widths[0], 3, padding=1)]
        layers += _residuals(scales.widths[0], scales)
        for width, out in pairwise(scales.widths):
            layers.append(CastingConv2d(width, out, 4, stride=2, padding=1))
            layers += _residuals(out, scales)
        self.layers = _activated(layers, scales.widths[-1])

    def forward(self, x: Float[Tensor, "b t"]) -> Float[Tensor, "b d i j"]:
        return self.layers(self.image.planes(x))


class ImageDecoder(nn.Module):
    """Features at the last scale -> numbers [b, n, p], of values of an event or of its pixels."""

    def __init__(self, image: ImageShape, scales: Scales, groups: int, numbers: int) -> None:
        """Fresh weights.

        Args:
            image: shape of an event.
            scales: of the convolutions.
            groups: n: as many as an event has values, or pixels.
            numbers: p.
        """
        super().__init__()
        self.image, self.numbers = image, numbers
        self.by_pixel = groups == image.height * image.width
        layers = _residuals(scales.widths[-1], scales)
        for width, out in pairwise(scales.widths[::-1]):
            layers += _doubled(width, out, scales.upsample) + _residuals(out, scales)
        planes = numbers if self.by_pixel else numbers * image.channels
        self.body = nn.Sequential(
            OrderedDict(
                layers=_activated(layers, scales.widths[0]),
                head=WideConv2d(scales.widths[0], planes, 3, padding=1),
            )
        )

    def forward(self, h: Float[Tensor, "b d i j"]) -> Float[Tensor, "b n p"]:
        planes = self.body(h)
        if self.by_pixel:
            return planes.flatten(2).transpose(1, 2)
        return self.image.values(planes, self.numbers)


def _residuals(width: int, scales: Scales) -> list[nn.Module]:
    return [Residual(width, scales.dropout) for _ in range(scales.blocks)]


def _activated(layers: list[nn.Module], width: int) -> nn.Sequential:
    return nn.Sequential(*layers, group_norm(width), nn.SiLU())


def _doubled(width: int, out: int, upsample: Upsample) -> list[nn.Module]:
    if upsample == "transposed":
        return [nn.ConvTranspose2d(width, out, 4, stride=2, padding=1)]
    return [nn.Upsample(scale_factor=2, mode="nearest"), CastingConv2d(width, out, 3, padding=1)]


def perceptron(
    widths: tuple[int, ...], activation: type[nn.Module], dropout: float
) -> nn.Sequential:
    """Linear maps with an activation after each but the last, which is wide."""
    layers: list[nn.Module] = []
    for i, (width, out) in enumerate(pairwise(widths)):
        if i == len(widths) - 2:
            return nn.Sequential(*layers, WideLinear(width, out))
        layers += [CastingLinear(width, out), activation()]
        layers += [nn.Dropout(dropout)] if dropout else []
    raise AssertionError("expected two widths")


def scaled(x: Tensor, levels: int, like: Tensor) -> Float[Tensor, "b t"]:
    """Values of events in [-1, 1]: levels 0 .. v - 1, or real values in [0, v), by their dtype.

    At least in float32, whatever type the weights have.
    """
    wide = x.to(torch.promote_types(like.dtype, torch.float32))
    return wide * (2 / levels) - 1 if x.is_floating_point() else wide * (2 / (levels - 1)) - 1
