"""The convolutional encoder and decoder of a latent diffusion model, in diffusers' names.

Attributes are named as in the state dicts of diffusers' AutoencoderKL: weights load by name.

References:
    Rombach et al. (2022), High-resolution image synthesis with latent diffusion models,
    arXiv:2112.10752.
"""

from dataclasses import dataclass
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, silu

from ancestral.train.models.layers import CastingConv2d, CastingLinear, WideConv2d

_EPSILON = 1e-6
"""Of every group norm; PyTorch's own default is ten times that."""


@dataclass(frozen=True, slots=True)
class Stages:
    """What encoder and decoder share.

    Attributes:
        widths: channels of each stage, the first at full size, each next at half of it.
        layers: residual blocks of an encoder's stage; a decoder's has one more.
        groups: of a group norm.
        attention: whether the middle, at the smallest size, attends.
    """

    widths: tuple[int, ...]
    layers: int
    groups: int
    attention: bool


class Encoder(nn.Module):
    """Planes of an image -> planes at the last stage's size."""

    def __init__(self, planes: int, out: int, stages: Stages) -> None:
        super().__init__()
        widths, last = stages.widths, stages.widths[-1]
        self.conv_in = CastingConv2d(planes, widths[0], 3, padding=1)
        self.down_blocks = nn.ModuleList(
            _Stage(width, to, stages, stages.layers, Halve if i < len(widths) - 1 else None)
            for i, (width, to) in enumerate(pairwise((widths[0], *widths)))
        )
        self.mid_block = _Middle(last, stages)
        self.conv_norm_out = _norm(last, stages)
        self.conv_out = WideConv2d(last, out, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        h = self.conv_in(x)
        for block in self.down_blocks:
            h = block(h)
        return self.conv_out(silu(self.conv_norm_out(self.mid_block(h))))


class Decoder(nn.Module):
    """Planes at the last stage's size -> planes of an image."""

    def __init__(self, planes: int, out: int, stages: Stages) -> None:
        super().__init__()
        widths = stages.widths[::-1]
        self.conv_in = CastingConv2d(planes, widths[0], 3, padding=1)
        self.mid_block = _Middle(widths[0], stages)
        self.up_blocks = nn.ModuleList(
            _Stage(width, to, stages, stages.layers + 1, Double if i < len(widths) - 1 else None)
            for i, (width, to) in enumerate(pairwise((widths[0], *widths)))
        )
        self.conv_norm_out = _norm(widths[-1], stages)
        self.conv_out = WideConv2d(widths[-1], out, 3, padding=1)

    def forward(self, z: Float[Tensor, "b d i j"]) -> Float[Tensor, "b c h w"]:
        h = self.mid_block(self.conv_in(z))
        for block in self.up_blocks:
            h = block(h)
        return self.conv_out(silu(self.conv_norm_out(h)))


class Residual(nn.Module):
    """x + conv2(silu(norm2(conv1(silu(norm1(x)))))), with a 1x1 map of x where widths differ."""

    def __init__(self, width: int, out: int, stages: Stages) -> None:
        super().__init__()
        self.norm1 = _norm(width, stages)
        self.conv1 = CastingConv2d(width, out, 3, padding=1)
        self.norm2 = _norm(out, stages)
        self.conv2 = CastingConv2d(out, out, 3, padding=1)
        self.conv_shortcut = nn.Identity() if width == out else CastingConv2d(width, out, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d h w"]:
        h = self.conv1(silu(self.norm1(x)))
        return self.conv_shortcut(x) + self.conv2(silu(self.norm2(h)))


class Attention(nn.Module):
    """x + out(softmax(q k^T / sqrt(c)) v): one head, every site sees every site."""

    def __init__(self, width: int, stages: Stages) -> None:
        super().__init__()
        self.group_norm = _norm(width, stages)
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
    """Half the height and width; zeros stand below and to the right alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = CastingConv2d(width, width, 3, stride=2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c i j"]:
        return self.conv(pad(x, (0, 1, 0, 1)))


class Double(nn.Module):
    """Twice the height and width: each value four times, and a convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = CastingConv2d(width, width, 3, padding=1)

    def forward(self, x: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c h w"]:
        return self.conv(interpolate(x, scale_factor=2.0, mode="nearest"))


class _Stage(nn.Module):
    """Residual blocks, and then half or twice the size, or the same."""

    def __init__(
        self, width: int, out: int, stages: Stages, layers: int, resize: type[Halve | Double] | None
    ) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(
            Residual(out if i else width, out, stages) for i in range(layers)
        )
        self.downsamplers = nn.ModuleList([Halve(out)] if resize is Halve else [])
        self.upsamplers = nn.ModuleList([Double(out)] if resize is Double else [])

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        for layer in (*self.resnets, *self.downsamplers, *self.upsamplers):
            x = layer(x)
        return x


class _Middle(nn.Module):
    """A residual block, attention or none, and a residual block."""

    def __init__(self, width: int, stages: Stages) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Residual(width, width, stages) for _ in range(2))
        self.attentions = nn.ModuleList([Attention(width, stages)] if stages.attention else [])

    def forward(self, x: Float[Tensor, "b c i j"]) -> Float[Tensor, "b c i j"]:
        first, last = self.resnets
        for layer in (first, *self.attentions, last):
            x = layer(x)
        return x


def _norm(width: int, stages: Stages) -> nn.GroupNorm:
    return nn.GroupNorm(stages.groups, width, eps=_EPSILON)
