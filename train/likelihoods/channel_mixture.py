"""A logistic mixture whose components are shared by the channels of a pixel, for decoders.

References:
    Salimans et al. (2017), PixelCNN++, arXiv:1701.05517, section 2.2.
"""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.train.likelihoods.logistic_mixture import LogisticMixture, given_channels


@final
@dataclass(frozen=True, slots=True)
class ChannelMixture:
    """p(x | z) over images: pixels independent given z, the channels of one drawn in turn.

    Attributes:
        mixture: of one channel.
        pixels: of an image.
        channels: of a pixel.
        channels_last: whether an event is [height, width, channels], else [channels, height,
            width].
    """

    mixture: LogisticMixture
    pixels: int
    channels: int
    channels_last: bool

    @property
    def continuous(self) -> bool:
        return False

    @property
    def shape(self) -> tuple[int, int]:
        pairs = self.channels * (self.channels - 1) // 2
        return self.pixels, self.mixture.components * (1 + 2 * self.channels + pairs)

    def log_prob(self, parameters: Float[Tensor, "*b n p"], x: Tensor) -> Float[Tensor, "*b"]:
        pixels = self._by_pixel(x)
        each = [
            self.mixture.log_prob(self._given(parameters, pixels, c), pixels[..., c])
            for c in range(self.channels)
        ]
        return torch.stack(each, dim=-1).sum(dim=(-2, -1))

    def logits(
        self, parameters: Float[Tensor, "*b n p"], x: Int64[Tensor, "*b t"]
    ) -> Float[Tensor, "*b t v"]:
        pixels = self._by_pixel(x)
        each = [
            self.mixture.logits(self._given(parameters, pixels, c)) for c in range(self.channels)
        ]
        if self.channels_last:
            return torch.stack(each, dim=-2).flatten(-3, -2)
        return torch.cat(each, dim=-2)

    def draw(
        self, parameters: Float[Tensor, "*b n p"], noise: Float[Tensor, "*b t"]
    ) -> Int64[Tensor, "*b t"]:
        u = self._by_pixel(noise)
        drawn: list[Tensor] = []
        for c in range(self.channels):
            before = torch.stack(drawn, dim=-1) if drawn else u[..., :0].long()
            given = self._given(parameters, before, c)
            drawn.append(self.mixture.draw(given, u[..., c]))
        return self._by_event(torch.stack(drawn, dim=-1))

    def mean(self, parameters: Float[Tensor, "*b n p"]) -> Float[Tensor, "*b t"]:
        """The mean of each component, channel by channel, weighted.

        A later channel is taken at the means of the earlier ones, on which its own depends linearly
        but for the open ends of the first and the last level.
        """
        k, levels = self.mixture.components, self.mixture.levels
        parts = parameters.unflatten(-1, (-1, k))
        weight = parts[..., 0, :].softmax(dim=-1)
        each = torch.arange(levels, device=parameters.device)
        means: list[Tensor] = []
        for c in range(self.channels):
            centre = parts[..., 1 + c, :]
            first = 1 + 2 * self.channels + c * (c - 1) // 2
            for before, value in enumerate(means):
                slope = parts[..., first + before, :].tanh()
                centre = centre + slope * (value * (2 / (levels - 1)) - 1)
            scale = parts[..., 1 + self.channels + c, :]
            given = torch.cat([torch.zeros_like(centre), centre, scale], dim=-1)
            # Even weights, whose log is taken out again.
            mass = self.mixture.component_log_prob(given[..., None, :], each).exp() * k
            means.append((mass * each.to(mass.dtype)[:, None]).sum(dim=-2))
        whole = [(weight * mean).sum(dim=-1) for mean in means]
        return self._by_event(torch.stack(whole, dim=-1))

    def _given(self, parameters: Tensor, pixels: Tensor, c: int) -> Tensor:
        return given_channels(self.mixture, parameters, pixels[..., :c], self.channels)

    def _by_pixel(self, x: Tensor) -> Tensor:
        """[.., t] -> [.., n, channels]."""
        if self.channels_last:
            return x.unflatten(-1, (self.pixels, self.channels))
        return x.unflatten(-1, (self.channels, self.pixels)).transpose(-1, -2)

    def _by_event(self, pixels: Tensor) -> Tensor:
        """[.., n, channels] -> [.., t]."""
        return (pixels if self.channels_last else pixels.transpose(-1, -2)).flatten(-2)
