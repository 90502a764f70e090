"""The convolutional encoder and decoder of a latent diffusion model.

Attributes are named as in the state dicts of diffusers' AutoencoderKL, so that weights load by
name.

References:
    Rombach et al. (2022), High-resolution image synthesis with latent diffusion models,
    arXiv:2112.10752.
"""

from collections import OrderedDict
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, silu

from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
from ancestral.train.models.layers import CastingConv2d, CastingLinear, WideConv2d

_EPSILON = 1e-6
"""Epsilon of every group norm; PyTorch's default is ten times larger."""


class Encoder(nn.Sequential):
    """Map an image [b, c, h, w] to features at the last stage's size, [b, d, i, j]."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        widths, count = config.block_out_channels, config.layers_per_block
        super().__init__(
            OrderedDict(
                conv_in=CastingConv2d(config.in_channels, widths[0], 3, padding=1),
                down_blocks=_stages(widths, config, count, "downsamplers", Halve),
                mid_block=_Middle(widths[-1], config),
                conv_norm_out=_norm(widths[-1], config),
                silu=nn.SiLU(),
                conv_out=WideConv2d(widths[-1], 2 * config.latent_channels, 3, padding=1),
            )
        )


class Decoder(nn.Sequential):
    """Map features at the last stage's size, [b, d, i, j], to an image [b, c, h, w]."""

    def __init__(self, config: AutoencoderKLConfig) -> None:
        widths, count = config.block_out_channels[::-1], config.layers_per_block + 1
        super().__init__(
            OrderedDict(
                conv_in=CastingConv2d(config.latent_channels, widths[0], 3, padding=1),
                mid_block=_Middle(widths[0], config),
                up_blocks=_stages(widths, config, count, "upsamplers", Double),
                conv_norm_out=_norm(widths[-1], config),
                silu=nn.SiLU(),
                conv_out=WideConv2d(widths[-1], config.out_channels, 3, padding=1),
            )
        )


class Residual(nn.Module):
    """x + conv2(silu(norm2(conv1(silu(norm1(x)))))); x goes through a 1x1 map if widths differ."""

    def __init__(self, width: int, out: int, config: AutoencoderKLConfig) -> None:
        super().__init__()
        self.norm1 = _norm(width, config)
        self.conv1 = CastingConv2d(width, out, 3, padding=1)
        self.norm2 = _norm(out, config)
        self.conv2 = CastingConv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Identity() if width == out else CastingConv2d(width, out, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        h = self.conv1(silu(self.norm1(x)))
        return self.conv_shortcut(x) + self.conv2(silu(self.norm2(h)))


class Attention(nn.Module):
    """x + out(softmax(q k^T / sqrt(c)) v), with one head over all pixels."""

    def __init__(self, width: int, config: AutoencoderKLConfig) -> None:
        super().__init__()
        self.group_norm = _norm(width, config)
        self.to_q = CastingLinear(width, width)
        self.to_k = CastingLinear(width, width)
        self.to_v = CastingLinear(width, width)
        self.to_out = nn.ModuleList([CastingLinear(width, width)])

    def forward(self, x: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c i j"]:
        channels, *size = x.shape[1:]
        sites = self.group_norm(x).flatten(2).transpose(1, 2)
        scores = (self.to_q(sites) * channels**-0.5) @ self.to_k(sites).transpose(1, 2)
        mixed = self.to_out[0](scores.softmax(dim=-1) @ self.to_v(sites))
        return x + mixed.transpose(1, 2).unflatten(2, size)


class Halve(nn.Module):
    """Halve the height and width; zeros are padded only below and to the right."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = CastingConv2d(width, width, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        return self.conv(pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    """Double the height and width: nearest-neighbour upsampling and a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = CastingConv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c h w"]:
        return self.conv(interpolate(x, scale_factor=2.0, mode="nearest"))


def _stages(
    widths: tuple[int, ...],
    config: AutoencoderKLConfig,
    layers: int,
    name: str,
    resize: type[Halve | Double],
) -> nn.Sequential:
    """Stages of `layers` residual blocks; each but the last ends with a resize called `name`."""
    made = nn.Sequential()
    for i, (width, out) in enumerate(pairwise((widths[0], *widths))):
        blocks = [Residual(out if j else width, out, config) for j in range(layers)]
        parts = OrderedDict[str, nn.Module](resnets=nn.Sequential(*blocks))
        if i < len(widths) - 1:
            parts[name] = nn.Sequential(resize(out))
        made.append(nn.Sequential(parts))
    return made


class _Middle(nn.Module):
    """A residual block, optional attention, and a residual block."""

    def __init__(self, width: int, config: AutoencoderKLConfig) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Residual(width, width, config) for _ in range(2))
        self.attentions = nn.ModuleList(
            [Attention(width, config)] if config.mid_block_add_attention else []
        )

    def forward(self, x: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c i j"]:
        first, last = self.resnets
        for layer in (first, *self.attentions, last):
            x = layer(x)
        return x


def _norm(width: int, config: AutoencoderKLConfig) -> nn.GroupNorm:
    return nn.GroupNorm(config.norm_num_groups, width, eps=_EPSILON)
