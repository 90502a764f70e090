"""The Gaussian likelihood, a density of real data, or of levels with uniform noise added.

On discrete data it is a density of x + u, u ~ U[0, 1). Its mean log-density is a lower bound on the
mean log-probability: E_u log p(x + u) <= log of the integral of p over the cell [x, x + 1). The
network predicts y = x / v in [0, 1), so log p(x) = log N(y; mean, scale) - log v.

References:
    Theis, van den Oord, Bethge (2016), A note on the evaluation of generative models,
    arXiv:1511.01844, section 3.1.
"""

import math
from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.likelihood import Reals, widened

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

MeanAndScale = Float[Tensor, "*b 2"]
"""Mean and log scale of each position."""


@final
@dataclass(frozen=True, slots=True)
class Gaussian:
    """A density over x in units of levels; parameters [.., 2]: mean and log scale of y = x / v.

    Attributes:
        levels: number of levels v; real data are in units of which v make 1.
        least_scale: smallest scale of y, above 0. Without it, a density of discrete data is
            unbounded.

    Raises:
        InvalidInput: `least_scale` is not a finite number above 0.

    References:
        Theis, van den Oord, Bethge (2016), arXiv:1511.01844, section 3.1.
    """

    levels: int
    least_scale: float
    size = 2

    def __post_init__(self) -> None:
        if not 0 < self.least_scale < math.inf:
            raise InvalidInput(f"least_scale: expected a finite number > 0, got {self.least_scale}")

    def log_prob(self, parameters: MeanAndScale, x: Tensor) -> Reals:
        """Return the log density of x, in nats, with respect to x itself; x broadcasts."""
        mean, log_scale = self._split(parameters)
        deviation = (x / self.levels - mean) * (-log_scale).exp()
        return -0.5 * deviation * deviation - log_scale - (HALF_LOG_2PI + math.log(self.levels))

    def draw(self, parameters: MeanAndScale, noise: Reals) -> Reals:
        """Return the x that a standard normal number draws."""
        mean, log_scale = self._split(parameters)
        return (mean + log_scale.exp() * noise) * self.levels

    def mean(self, parameters: MeanAndScale) -> Reals:
        """Return E[x], in units of levels."""
        return self._split(parameters)[0] * self.levels

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        wide = widened(parameters)
        return wide[..., 0], wide[..., 1].clamp_min(math.log(self.least_scale))
