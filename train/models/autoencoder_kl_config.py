"""The configuration of a latent diffusion model's autoencoder, with diffusers' names."""

import math
from collections.abc import Iterator

from ancestral.train.models.configuration import LatentConfig, configuration

_MOST, MOST_STAGES = 4096, 16
"""Limits on widths and stages, since a damaged file may hold any number."""


@configuration
class AutoencoderKLConfig(LatentConfig):
    """Configuration of an AutoencoderKL, with diffusers' names and defaults.

    Attributes:
        in_channels: channels of an image, 1 or 3.
        out_channels: channels of a decoded image, equal to in_channels.
        block_out_channels: channels of each stage; each stage has half the height and width of the
            one before.
        layers_per_block: residual blocks in each stage of the encoder; the decoder has one more.
        latent_channels: channels of z.
        norm_num_groups: groups of every group norm; must divide the channels of each stage.
        mid_block_add_attention: whether the middle block, at the smallest size, has attention.
        use_quant_conv: whether a 1x1 convolution makes the parameters of the posterior.
        use_post_quant_conv: whether a 1x1 convolution reads z.
        scaling_factor: factor by which a diffusion model multiplies z; recorded, not applied here.
        shift_factor: number that a diffusion model subtracts from z before that; recorded, not
            applied here.
        pixel_scale: sigma of p(x | z), in pixel units [-1, 1]; not part of diffusers'
            configuration.

    Raises:
        InvalidInput: a value is out of range.
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
        """Factor by which z is smaller than the image, along each side."""
        return int(2 ** (len(self.block_out_channels) - 1))

    def problems(self) -> Iterator[str]:
        """Yield a line for each value that is out of range."""
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
                f"block_out_channels: expected multiples of norm_num_groups = {groups}, got "
                f"{widths}"
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
