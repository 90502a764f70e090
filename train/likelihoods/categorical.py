"""The categorical likelihood over v values: log-probabilities, and draws by inverse CDF."""

from dataclasses import dataclass
from typing import final

from jaxtyping import Float
from torch import Tensor

from ancestral.train.likelihoods.likelihood import Levels, Reals, widened
from ancestral.triton_kernels.sample_token.inverse_cdf import inverse_cdf, unnormalised

Logits = Float[Tensor, "*b v"]
"""Unnormalised log-probabilities of all levels."""


@final
@dataclass(frozen=True, slots=True)
class Categorical:
    """Any distribution over v levels; the parameters are logits [.., v]."""

    levels: int

    @property
    def size(self) -> int:
        """Parameters of one position."""
        return self.levels

    def logits(self, parameters: Logits) -> Logits:
        """The parameters themselves."""
        return parameters

    def log_prob(self, parameters: Logits, x: Levels) -> Reals:
        """log p(x) in nats, at least in float32."""
        return widened(parameters).log_softmax(dim=-1).gather(-1, x[..., None])[..., 0]

    def draw(self, parameters: Logits, u: Reals) -> Levels:
        """The value that u in (0, 1) draws from softmax(parameters)."""
        return inverse_cdf(unnormalised(parameters)[1], u)[0]
