"""A logistic mixture whose components are shared by the channels of a pixel, for decoders.

References:
    Salimans et al. (2017), PixelCNN++, arXiv:1701.05517, section 2.2.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.train.likelihoods.logistic_mixture import LogisticMixture


@final
@dataclass(frozen=True, slots=True)
class ChannelMixture:
    """p(x | z) over images: pixels are independent given z, and channels are drawn one by one.

    Attributes:
        mixture: logistic mixture of one channel.
        pixels: number of pixels of an image.
        channels: number of channels of a pixel.
        channels_last: whether an event is [height, width, channels]; otherwise it is [channels,
            height, width].

    References:
        Salimans et al. (2017), PixelCNN++, arXiv:1701.05517, section 2.2.
    """

    mixture: LogisticMixture
    pixels: int
    channels: int
    channels_last: bool

    continuous = False

    @property
    def shape(self) -> tuple[int, int]:
        """Number of pixels, and of parameters per pixel."""
        pairs = self.channels * (self.channels - 1) // 2
        return self.pixels, self.mixture.components * (1 + 2 * self.channels + pairs)

    def log_prob(self, parameters: Float[Tensor, "*b n p"], x: Tensor) -> Float[Tensor, "*b"]:
        """Return log p(x | z) in nats, summed over the event."""
        pixels = self._by_pixel(x)
        walk = self._walk(parameters, lambda c, _: pixels[..., c])
        each = [self.mixture.log_prob(given, value) for given, value in walk]
        return torch.stack(each, dim=-1).sum(dim=(-2, -1))

    def logits(
        self, parameters: Float[Tensor, "*b n p"], x: Int64[Tensor, "*b t"]
    ) -> Float[Tensor, "*b t v"]:
        """Return the log-probabilities of all levels, given the earlier channels of each pixel."""
        pixels = self._by_pixel(x)
        walk = self._walk(parameters, lambda c, _: pixels[..., c])
        each = [self.mixture.logits(given) for given, _ in walk]
        if self.channels_last:
            return torch.stack(each, dim=-2).flatten(-3, -2)
        return torch.cat(each, dim=-2)

    def draw(
        self, parameters: Float[Tensor, "*b n p"], noise: Float[Tensor, "*b t"]
    ) -> Int64[Tensor, "*b t"]:
        """Draw an event with uniforms in (0, 1)."""
        u = self._by_pixel(noise)
        walk = self._walk(parameters, lambda c, given: self.mixture.draw(given, u[..., c]))
        return self._by_event(torch.stack([x for _, x in walk], dim=-1))

    def mean(self, parameters: Float[Tensor, "*b n p"]) -> Float[Tensor, "*b t"]:
        """Return E[x | z] in units of levels: a weighted mean over components, channel by channel.

        A later channel is evaluated at the means of the earlier channels. This is exact where its
        mean depends on them linearly: everywhere except at the open ends of the first and the last
        level.
        """
        parts, weight = self._begin(parameters)
        levels = torch.arange(self.mixture.levels, device=parameters.device)
        means: list[Tensor] = []
        for c in range(self.channels):
            earlier = [mean * (2 / (self.mixture.levels - 1)) - 1 for mean in means]
            given = self._conditional(parts, torch.zeros_like(weight), earlier, c)
            # The zeros give each component the weight 1/K, which the factor K below cancels.
            mass = self.mixture.component_log_prob(given[..., None, :], levels).exp()
            means.append((mass * levels.to(mass.dtype)[:, None]).sum(dim=-2) * weight.shape[-1])
        whole = [(weight.softmax(dim=-1) * mean).sum(dim=-1) for mean in means]
        return self._by_event(torch.stack(whole, dim=-1))

    def _walk(
        self, parameters: Float[Tensor, "*b n p"], choose: Callable[[int, Tensor], Tensor]
    ) -> Iterator[tuple[Float[Tensor, "*b n q"], Int64[Tensor, "*c n"]]]:
        """Yield the parameters of each channel given the earlier ones, and the chosen values.

        The value of a channel changes the probabilities of the components and shifts the means of
        later channels. The values' batch axes may broadcast with those of the parameters.
        """
        parts, weight = self._begin(parameters)
        earlier: list[Tensor] = []
        for c in range(self.channels):
            given = self._conditional(parts, weight, earlier, c)
            x = choose(c, given)
            yield given, x
            if c < self.channels - 1:
                weight = self.mixture.component_log_prob(given, x)
                earlier.append(self._scaled(x, parts))

    def _begin(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Return the parameters as [.., n, kinds, K], and the logits of the weights, [.., n, K].

        The kinds are: the weight, a mean and a log scale per channel, a slope per pair of channels.
        """
        parts = parameters.unflatten(-1, (-1, self.mixture.components))
        return parts, parts[..., 0, :]

    def _conditional(
        self, parts: Tensor, weight: Tensor, earlier: list[Tensor], c: int
    ) -> Float[Tensor, "*b q"]:
        """Return the weights, means (with tanh-bounded slopes) and log scales of channel c."""
        mean = parts[..., 1 + c, :]
        first = 1 + 2 * self.channels + c * (c - 1) // 2
        for i, value in enumerate(earlier):
            mean = mean + parts[..., first + i, :].tanh() * value
        return torch.cat([weight, mean, parts[..., 1 + self.channels + c, :]], dim=-1)

    def _scaled(self, x: Int64[Tensor, "*b n"], like: Tensor) -> Float[Tensor, "*b n 1"]:
        """Scale levels to [-1, 1], in the dtype of the parameters."""
        return (x.to(like.dtype) * (2 / (self.mixture.levels - 1)) - 1)[..., None]

    def _by_pixel(self, x: Tensor) -> Tensor:
        """Reshape [.., t] -> [.., n, channels]."""
        if self.channels_last:
            return x.unflatten(-1, (self.pixels, self.channels))
        return x.unflatten(-1, (self.channels, self.pixels)).transpose(-1, -2)

    def _by_event(self, pixels: Tensor) -> Tensor:
        """Reshape [.., n, channels] -> [.., t]."""
        return (pixels if self.channels_last else pixels.transpose(-1, -2)).flatten(-2)
