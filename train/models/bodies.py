"""Bodies of encoders and decoders: perceptrons, and residual convolutions at several scales.

An encoder's body maps an event, scaled to [-1, 1], to features. A decoder's body maps features to
numbers for each value.
"""

import math
from collections import OrderedDict
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.models.decoder import DecoderConfig, ImageShape
from ancestral.train.models.layers import CastingConv2d, CastingLinear, WideConv2d, WideLinear


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
    """Return a group norm of at most 8 groups, with at least 4 channels each, or of one group."""
    return nn.GroupNorm(math.gcd(8, max(1, width // 4), width), width)


class ImageEncoder(nn.Module):
    """Map the values of an event to features at the last scale."""

    def __init__(self, image: ImageShape, config: DecoderConfig) -> None:
        super().__init__()
        self.image = image
        layers: list[nn.Module] = [CastingConv2d(image.channels, config.widths[0], 3, padding=1)]
        layers += _residuals(config.widths[0], config)
        for width, out in pairwise(config.widths):
            layers.append(CastingConv2d(width, out, 4, stride=2, padding=1))
            layers += _residuals(out, config)
        self.layers = _activated(layers, config.widths[-1])

    def forward(self, x: Float[Tensor, "b t"]) -> Float[Tensor, "b d i j"]:
        return self.layers(self.image.planes(x))


class ImageDecoder(nn.Module):
    """Map features at the last scale to numbers [b, n, p] for each value, or pixel, of an event."""

    def __init__(self, image: ImageShape, config: DecoderConfig, groups: int, numbers: int) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            image: shape of an event.
            config: configuration of the convolutions.
            groups: number n of values, or of pixels, of an event.
            numbers: number p of outputs for each.
        """
        super().__init__()
        self.image, self.numbers = image, numbers
        self.by_pixel = groups == image.height * image.width
        layers = _residuals(config.widths[-1], config)
        for width, out in pairwise(config.widths[::-1]):
            layers += _doubled(width, out, config.upsample) + _residuals(out, config)
        planes = numbers if self.by_pixel else numbers * image.channels
        self.body = nn.Sequential(
            OrderedDict(
                layers=_activated(layers, config.widths[0]),
                head=WideConv2d(config.widths[0], planes, 3, padding=1),
            )
        )

    def forward(self, h: Float[Tensor, "b d i j"]) -> Float[Tensor, "b n p"]:
        planes = self.body(h)
        if self.by_pixel:
            return planes.flatten(2).transpose(1, 2)
        return self.image.values(planes, self.numbers)


def _residuals(width: int, config: DecoderConfig) -> list[nn.Module]:
    return [Residual(width, config.dropout) for _ in range(config.blocks)]


def _activated(layers: list[nn.Module], width: int) -> nn.Sequential:
    return nn.Sequential(*layers, group_norm(width), nn.SiLU())


def _doubled(width: int, out: int, upsample: str) -> list[nn.Module]:
    if upsample == "transposed":
        return [nn.ConvTranspose2d(width, out, 4, stride=2, padding=1)]
    return [nn.Upsample(scale_factor=2, mode="nearest"), CastingConv2d(width, out, 3, padding=1)]


def perceptron(
    widths: tuple[int, ...], activation: type[nn.Module], dropout: float
) -> nn.Sequential:
    """Return linear maps with an activation after each but the last, which is a wide map."""
    layers: list[nn.Module] = []
    for i, (width, out) in enumerate(pairwise(widths)):
        if i == len(widths) - 2:
            return nn.Sequential(*layers, WideLinear(width, out))
        layers += [CastingLinear(width, out), activation()]
        layers += [nn.Dropout(dropout)] if dropout else []
    raise AssertionError("expected two widths")


def scaled(x: Tensor, levels: int, like: Tensor) -> Float[Tensor, "b t"]:
    """Scale values of events to [-1, 1]: integer levels 0 .. v - 1, or real values in [0, v).

    The result is at least in float32, whatever the dtype of the weights.
    """
    wide = x.to(torch.promote_types(like.dtype, torch.float32))
    return wide * (2 / levels) - 1 if x.is_floating_point() else wide * (2 / (levels - 1)) - 1
