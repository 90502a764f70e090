"""The discretized logistic mixture: levels that are amounts, with few parameters for any number.

Level i of v stands at 2i / (v - 1) - 1. Its probability is what a mixture of K logistic
distributions gives to the interval between the inner edges e_(i-1) and e_i that lie halfway to its
neighbours; the first and the last interval are open, so that all masses sum to 1. With a and b the
edges in units of a component's scale,

    log (sigmoid(b) - sigmoid(a)) = log sigmoid(b) + log sigmoid(-a) + log(1 - e^(a - b))

which no rounding turns into a difference of nearly equal numbers, and which needs no fallback to a
density. The last term is a function of the scale alone and is taken by
1 - e^-y = 2 tanh(y/2) / (1 + tanh(y/2)), exact for narrow and for wide intervals.

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
"""Of a component, where the levels span 2: PixelCNN++'s own bound, made for 256 levels."""
_LEAST_WIDTHS = -2.0
"""Where there are more levels: of a component, by the log of its scale in widths of a level."""

_FRESH_LOG_SCALE = -2.0
"""Log-scale of a fresh mixture's components, where the levels span 2."""


def fresh_mixture(components: int, channels: int = 1) -> Float[Tensor, " p"]:
    """Parameters of a fresh mixture: broad, and evenly over the range of the levels.

    Args:
        components: K.
        channels: that share the components; each has means and scales, each pair has slopes.
    """
    k, pairs = components, channels * (channels - 1) // 2
    # A tensor of its own: a view of a larger one is not a weight that a file can hold.
    start = torch.zeros(k * (1 + 2 * channels + pairs))
    start[k : k * (1 + channels)] = ((2 * torch.arange(k) + 1) / k - 1).repeat(channels)
    start[k * (1 + channels) : k * (1 + 2 * channels)] = _FRESH_LOG_SCALE
    return start


@final
@dataclass(frozen=True, slots=True)
class LogisticMixture:
    """A mixture over v levels; parameters [.., 3 K]: logits of the weights, means, log scales."""

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
        """Parameters of one position."""
        return 3 * self.components

    def logits(self, parameters: Parameters) -> Float[Tensor, "*b v"]:
        """Normalised log-probabilities of all levels, in nats."""
        x = torch.arange(self.levels, device=parameters.device)
        each = self.component_log_prob(parameters[..., None, :], x)
        return each.logsumexp(dim=-1)

    def log_prob(self, parameters: Parameters, x: Tensor) -> Reals:
        """log p(x) in nats; x broadcasts."""
        return self.component_log_prob(parameters, x).logsumexp(dim=-1)

    def draw(self, parameters: Parameters, u: Reals) -> Levels:
        """The number of inner edges whose cumulative probability is below u.

        They are counted in two rounds, whole blocks of about sqrt(v) first, then inside a block.
        """
        size = math.ceil(math.sqrt(self.levels))
        ends = torch.arange(size - 1, self.levels - 1, size, device=parameters.device)
        u = u[..., None]
        block = (self._cdf(parameters, ends) < u).sum(dim=-1, keepdim=True)
        inside = block * size + torch.arange(size - 1, device=parameters.device)
        below = (self._cdf(parameters, inside) < u) & (inside < self.levels - 1)
        return block[..., 0] * size + below.sum(dim=-1)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the weights, means and log scales, [.., K] each, at least in float32."""
        weight, mean, log_scale = widened(parameters).chunk(3, dim=-1)
        least = min(LEAST_LOG_SCALE, math.log(2 / (self.levels - 1)) + _LEAST_WIDTHS)
        return weight, mean, log_scale.clamp_min(least)

    def _edge(self, index: Levels, like: Tensor) -> Float[Tensor, "*b 1"]:
        """The edge above a level, for all components."""
        return ((2 * index + 1).to(like.dtype) / (self.levels - 1) - 1)[..., None]

    def component_log_prob(
        self, parameters: Float[Tensor, "*c p"], x: Levels
    ) -> Float[Tensor, "*d k"]:
        """log (weight x mass of level x) under each component."""
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
        """Cumulative probability of the levels up to each index."""
        weight, mean, log_scale = (part[..., None, :] for part in self._split(parameters))
        reached = ((self._edge(index, mean) - mean) * (-log_scale).exp()).sigmoid()
        return (weight.softmax(dim=-1) * reached).sum(dim=-1)
