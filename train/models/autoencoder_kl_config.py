"""The shape of a latent diffusion model's autoencoder, in diffusers' words."""

import math
from collections.abc import Iterator

from ancestral.train.models.configuration import LatentConfig, configuration

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
