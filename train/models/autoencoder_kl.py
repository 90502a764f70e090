"""The autoencoder of a latent diffusion model: diffusers' AutoencoderKL, read as a VAE.

A value x of an event is real, in units of levels: whole level i stands for [i, i + 1), and its
centre i + 0.5 is diffusers' pixel i / 127.5 - 1. An AutoencoderKL has no likelihood of its own: a
Gaussian of one scale stands around the pixels that it decodes.

References:
    Rombach et al. (2022), High-resolution image synthesis with latent diffusion models,
    arXiv:2112.10752, section 3.1.
"""

import math
from collections.abc import Iterator
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import RASTER
from ancestral.train.likelihoods.gaussian import Gaussian
from ancestral.train.likelihoods.observation import Independent
from ancestral.train.models.autoencoder_kl_blocks import Decoder, Encoder, Stages
from ancestral.train.models.configuration import LatentConfig, configuration
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.layers import CastingConv2d, WideConv2d
from ancestral.train.models.posteriors import Diagonal, Parameters
from ancestral.train.models.priors import Prior, StandardNormal

LEVELS = 256
_HALF = 127.5
"""Levels that span 1 in pixel units, where 0 .. 255 become -1 .. 1."""
_LOG_VARIANCE = (-30.0, 20.0)
_MOST, MOST_STAGES = 4096, 16
"""Bounds of what is built: a broken file may ask for anything."""


@configuration
class AutoencoderKLConfig(LatentConfig):
    """Shape of the network, in diffusers' words and with its defaults.

    Attributes:
        in_channels: of an image: 1 or 3.
        out_channels: the same number.
        block_out_channels: channels of each stage; each next one has half the height and width.
        layers_per_block: residual blocks of an encoder's stage; a decoder's has one more.
        latent_channels: of z.
        norm_num_groups: of every group norm; divides the channels of each stage.
        mid_block_add_attention: whether the smallest size attends.
        use_quant_conv: whether a 1x1 convolution makes the posterior's numbers.
        use_post_quant_conv: whether a 1x1 convolution reads z.
        scaling_factor: by which a diffusion model multiplies z. A fact, not applied here.
        shift_factor: which it subtracts before that. A fact, not applied here.
        pixel_scale: sigma of p(x | z), in pixel units [-1, 1]: whoever imports chooses it.
    """

    in_channels: int = 3
    out_channels: int = 3
    block_out_channels: tuple[int, ...] = (64,)
    layers_per_block: int = 1
    latent_channels: int = 4
    norm_num_groups: int = 32
    mid_block_add_attention: bool = True
    use_quant_conv: bool = True
    use_post_quant_conv: bool = True
    scaling_factor: float = 0.18215
    shift_factor: float | None = None
    pixel_scale: float = 1.0

    @property
    def stride(self) -> int:
        """How much smaller z is than the image, along each side."""
        return int(2 ** (len(self.block_out_channels) - 1))

    @property
    def stages(self) -> Stages:
        """What encoder and decoder share."""
        return Stages(
            self.block_out_channels,
            self.layers_per_block,
            self.norm_num_groups,
            self.mid_block_add_attention,
        )

    def problems(self) -> Iterator[str]:
        """Every value outside its range."""
        for name in ("layers_per_block", "latent_channels", "norm_num_groups"):
            if not 1 <= getattr(self, name) <= _MOST:
                yield f"{name}: expected 1 .. {_MOST}, got {getattr(self, name)}"
        widths, groups = self.block_out_channels, self.norm_num_groups
        if not 1 <= len(widths) <= MOST_STAGES or not all(1 <= width <= _MOST for width in widths):
            yield (
                f"block_out_channels: expected 1 .. {MOST_STAGES} widths in 1 .. {_MOST}, "
                f"got {widths}"
            )
        if groups < 1 or any(width % groups for width in widths):
            yield (
                f"block_out_channels: expected widths that norm_num_groups divides, got {widths} "
                f"and {groups}"
            )
        if self.in_channels not in (1, 3) or self.out_channels != self.in_channels:
            yield (
                f"in_channels and out_channels: expected both 1 or both 3, "
                f"got {self.in_channels} and {self.out_channels}"
            )
        for name in ("scaling_factor", "shift_factor"):
            if not math.isfinite(getattr(self, name) or 0):
                yield f"{name}: expected a finite number, got {getattr(self, name)}"
        if not 0 < self.pixel_scale < math.inf:
            yield f"pixel_scale: expected a finite number above 0, got {self.pixel_scale}"


@final
class AutoencoderKL(LatentVariableModel):
    """z [latent_channels, h / stride, w / stride], as encoded: unscaled and unshifted."""

    posterior: Diagonal

    def __init__(self, config: AutoencoderKLConfig, data: DataSpec) -> None:
        """Fresh weights.

        Raises:
            InvalidInput: the data are no images of 256 levels, channels first, that the stride
                divides.
        """
        super().__init__()
        height, width = image_size(config, data)
        self.config = config
        self.data = data
        self.latent_shape = (
            config.latent_channels,
            height // config.stride,
            width // config.stride,
        )
        self.posterior = Diagonal(self.latent_shape)
        scale = config.pixel_scale * _HALF / LEVELS
        self.observation = Independent(Gaussian(LEVELS, least_scale=scale), data.length)
        self.log_scale = math.log(scale)
        latent = config.latent_channels
        self.encoder = Encoder(config.in_channels, 2 * latent, config.stages)
        self.decoder = Decoder(latent, config.out_channels, config.stages)
        self.quant_conv = (
            WideConv2d(2 * latent, 2 * latent, 1) if config.use_quant_conv else nn.Identity()
        )
        self.post_quant_conv = (
            CastingConv2d(latent, latent, 1) if config.use_post_quant_conv else nn.Identity()
        )

    @property
    def prior(self) -> Prior:
        return StandardNormal()

    def encode(self, x: Tensor) -> Parameters:
        dtype = torch.promote_types(next(self.encoder.parameters()).dtype, torch.float32)
        centred = x.to(dtype) - 0.5 if x.is_floating_point() else x.to(dtype)
        planes = (centred / _HALF - 1).unflatten(1, self.data.event_shape)
        numbers = self.quant_conv(self.encoder(planes)).flatten(1)
        mean, log_variance = self.posterior.from_features(numbers)
        return mean, 0.5 * log_variance.clamp(*_LOG_VARIANCE)

    def decode(self, z: Float[Tensor, "b c i j"]) -> Float[Tensor, "b t 2"]:
        pixels = self.decoder(self.post_quant_conv(z)).flatten(1)
        mean = ((pixels + 1) * _HALF + 0.5) / LEVELS
        return torch.stack([mean, torch.full_like(mean, self.log_scale)], dim=-1)


def image_size(config: AutoencoderKLConfig, data: DataSpec) -> tuple[int, int]:
    """Height and width of the images.

    Raises:
        InvalidInput: the data are no images of 256 levels, channels first, that the stride divides.
    """
    if (data.levels, data.num_classes, data.ordering) != (LEVELS, None, RASTER):
        raise InvalidInput(
            f"AutoencoderKL: expected data of {LEVELS} levels without labels, in raster order, "
            f"got {data}"
        )
    match data.event_shape:
        case (config.in_channels, height, width):
            pass
        case _:
            raise InvalidInput(
                f"AutoencoderKL: expected events [{config.in_channels}, height, width], "
                f"got {data.event_shape}; put the channels first"
            )
    if height % config.stride or width % config.stride:
        raise InvalidInput(
            f"AutoencoderKL: expected a height and a width that {config.stride} divides "
            f"({len(config.block_out_channels)} stages), got {height} x {width}; crop or pad"
        )
    return height, width
