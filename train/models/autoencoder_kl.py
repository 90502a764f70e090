"""The autoencoder of a latent diffusion model: diffusers' AutoencoderKL, used as a VAE.

A value x of an event is real, in units of levels. Whole level i stands for [i, i + 1), and its
centre i + 0.5 is diffusers' pixel i / 127.5 - 1. An AutoencoderKL defines no likelihood, so p(x |
z) is a Gaussian of fixed scale around the decoded pixels.

References:
    Rombach et al. (2022), High-resolution image synthesis with latent diffusion models,
    arXiv:2112.10752, section 3.1.
"""

import math
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import RASTER
from ancestral.train.likelihoods.gaussian import Gaussian
from ancestral.train.likelihoods.observation import Independent
from ancestral.train.models.autoencoder_kl_blocks import Decoder, Encoder
from ancestral.train.models.autoencoder_kl_config import AutoencoderKLConfig
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.layers import CastingConv2d, WideConv2d
from ancestral.train.models.posteriors import Diagonal, Parameters
from ancestral.train.models.priors import Prior, StandardNormal

LEVELS = 256
_HALF = 127.5
"""Levels per pixel unit: 0 .. 255 become -1 .. 1."""
_LOG_VARIANCE = (-30.0, 20.0)


@final
class AutoencoderKL(LatentVariableModel):
    """diffusers' AutoencoderKL; z has shape [latent_channels, h / stride, w / stride].

    z is as encoded: a diffusion model's scaling_factor and shift_factor are not applied.

    References:
        Rombach et al. (2022), arXiv:2112.10752, section 3.1.
    """

    posterior: Diagonal

    def __init__(self, config: AutoencoderKLConfig, data: DataSpec) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            config: shape of the network.
            data: space of the events: images [channels, height, width] of 256 levels, without
                labels.

        Raises:
            InvalidInput: the data are not such images, or the stride does not divide height and
                width.
        """
        super().__init__()
        height, width = image_size(config, data)
        self.config, self.data = config, data
        latent, stride = config.latent_channels, config.stride
        self.latent_shape = (latent, height // stride, width // stride)
        self.posterior = Diagonal(self.latent_shape)
        scale = config.pixel_scale * _HALF / LEVELS
        self.observation = Independent(Gaussian(LEVELS, least_scale=scale), data.length)
        self.log_scale = math.log(scale)
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
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
    """Return the height and width of the images.

    Raises:
        InvalidInput: the data are not images of 256 levels with channels first, or the stride does
            not divide their height and width.
    """
    if (data.levels, data.num_classes, data.ordering) != (LEVELS, None, RASTER):
        raise InvalidInput(
            f"AutoencoderKL: expected data of {LEVELS} levels without labels, in raster order, "
            f"got {data}"
        )
    if len(data.event_shape) != 3 or data.event_shape[0] != config.in_channels:
        raise InvalidInput(
            f"AutoencoderKL: expected events [{config.in_channels}, height, width], "
            f"got {data.event_shape}; put the channels first"
        )
    height, width = data.event_shape[1:]
    if height % config.stride or width % config.stride:
        raise InvalidInput(
            f"AutoencoderKL: expected a height and a width divisible by {config.stride} "
            f"({len(config.block_out_channels)} stages), got {height} x {width}; crop or pad"
        )
    return height, width
