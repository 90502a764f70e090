"""The discretised logistic mixture: for levels that are amounts; its size is independent of v.

Level i of v is at 2i / (v - 1) - 1. Its probability is the mass that a mixture of K logistic
distributions gives to the interval between the inner edges e_(i-1) and e_i, which lie halfway to
its neighbours. The first and the last interval are open, so that all masses sum to 1. With a and b
the edges in units of a component's scale,

    log (sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - e^(a - b))

This form never subtracts nearly equal numbers, and needs no fallback to a density. The last term is
a function of the scale only. It is computed by 1 - e^-y = 2 tanh(y/2) / (1 + tanh(y/2)), which is
exact for narrow and for wide intervals.

References:
    Salimans et al. (2017), PixelCNN++, arXiv:1701.05517, sections 2.1 and 2.2.
"""

import math
from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.likelihood import Levels, Parameters, Reals, log_sigmoid, widened

LEAST_LOG_SCALE = -7.0
"""Smallest log scale of a component, where the levels span 2: PixelCNN++'s, for 256 levels."""
_LEAST_WIDTHS = -2.0
"""With more levels: smallest log of a component's scale in widths of a level."""

_FRESH_LOG_SCALE = -2.0
"""Log scale of the components of a fresh mixture, where the levels span 2."""


def fresh_mixture(components: int, channels: int = 1) -> Float[Tensor, " p"]:
    """Return the parameters of a fresh mixture: broad, and evenly spread over the levels.

    Args:
        components: number of components K.
        channels: number of channels that share the components. Each channel has means and scales,
            and each pair of channels has slopes.
    """
    k, pairs = components, channels * (channels - 1) // 2
    # A new tensor, since files cannot store a view of a larger one as a weight.
    start = torch.zeros(k * (1 + 2 * channels + pairs))
    start[k : k * (1 + channels)] = ((2 * torch.arange(k) + 1) / k - 1).repeat(channels)
    start[k * (1 + channels) : k * (1 + 2 * channels)] = _FRESH_LOG_SCALE
    return start


@final
@dataclass(frozen=True, slots=True)
class LogisticMixture:
    """A mixture over v levels; parameters [.., 3 K]: logits of the weights, means, log scales.

    Attributes:
        levels: number of levels v, at least 2.
        components: number of components K, at least 1.

    Raises:
        InvalidInput: `levels` is less than 2, or `components` is less than 1.

    References:
        Salimans et al. (2017), PixelCNN++, arXiv:1701.05517, section 2.1.
    """

    levels: int
    components: int

    def __post_init__(self) -> None:
        if self.levels < 2 or self.components < 1:
            raise InvalidInput(
                f"logistic mixture: expected at least 2 levels and 1 component, "
                f"got {self.levels} and {self.components}"
            )

    @property
    def size(self) -> int:
        """Number of parameters of one position."""
        return 3 * self.components

    def logits(self, parameters: Parameters) -> Float[Tensor, "*b v"]:
        """Return the normalised log-probabilities of all levels, in nats."""
        x = torch.arange(self.levels, device=parameters.device)
        each = self.component_log_prob(parameters[..., None, :], x)
        return each.logsumexp(dim=-1)

    def log_prob(self, parameters: Parameters, x: Tensor) -> Reals:
        """Return log p(x) in nats; x broadcasts."""
        return self.component_log_prob(parameters, x).logsumexp(dim=-1)

    def draw(self, parameters: Parameters, u: Reals) -> Levels:
        """Return the number of inner edges whose cumulative probability is below u.

        They are counted in two rounds: first whole blocks of about sqrt(v), then inside one block.
        """
        size = math.ceil(math.sqrt(self.levels))
        ends = torch.arange(size - 1, self.levels - 1, size, device=parameters.device)
        u = u[..., None]
        block = (self._cdf(parameters, ends) < u).sum(dim=-1, keepdim=True)
        inside = block * size + torch.arange(size - 1, device=parameters.device)
        below = (self._cdf(parameters, inside) < u) & (inside < self.levels - 1)
        return block[..., 0] * size + below.sum(dim=-1)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits of the weights, means and log scales, [.., K] each, at least in float32."""
        weight, mean, log_scale = widened(parameters).chunk(3, dim=-1)
        least = min(LEAST_LOG_SCALE, math.log(2 / (self.levels - 1)) + _LEAST_WIDTHS)
        return weight, mean, log_scale.clamp_min(least)

    def _edge(self, index: Levels, like: Tensor) -> Float[Tensor, "*b 1"]:
        """Return the edge above a level, for all components."""
        return ((2 * index + 1).to(like.dtype) / (self.levels - 1) - 1)[..., None]

    def component_log_prob(
        self, parameters: Float[Tensor, "*c p"], x: Levels
    ) -> Float[Tensor, "*d k"]:
        """Return log (weight x mass of level x) for each component."""
        weight, mean, log_scale = self._split(parameters)
        rate = (-log_scale).exp()
        above = (self._edge(x, mean) - mean) * rate
        below = (self._edge(x - 1, mean) - mean) * rate
        half = (rate / (self.levels - 1)).tanh()
        width = (2 * half / (1 + half)).log()
        x = x[..., None]
        first, last = x == 0, x == self.levels - 1
        mass = (
            torch.where(last, 0.0, log_sigmoid(above))
            + torch.where(first, 0.0, log_sigmoid(-below))
            + torch.where(first | last, 0.0, width)
        )
        return mass + weight.log_softmax(dim=-1)

    def _cdf(self, parameters: Parameters, index: Int64[Tensor, "*c n"]) -> Float[Tensor, "*b n"]:
        """Return the cumulative probability of the levels up to each index."""
        weight, mean, log_scale = (part[..., None, :] for part in self._split(parameters))
        reached = ((self._edge(index, mean) - mean) * (-log_scale).exp()).sigmoid()
        return (weight.softmax(dim=-1) * reached).sum(dim=-1)
