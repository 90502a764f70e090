"""Likelihoods over levels by logits: of all v of them, or one logit where there are two."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.likelihood import Levels, Reals, log_sigmoid, widened
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


Logit = Float[Tensor, "*b 1"]
"""log p(1) - log p(0) of each position."""


@final
@dataclass(frozen=True, slots=True)
class Bernoulli:
    """A distribution over the levels 0 and 1; the parameter is the logit of 1."""

    levels: int = 2
    size = 1

    def __post_init__(self) -> None:
        if self.levels != 2:
            raise InvalidInput(
                f"bernoulli: expected data of 2 levels, got {self.levels}: binarise the data, or "
                f"take the categorical likelihood or the logistic mixture"
            )

    def logits(self, parameters: Logit) -> Float[Tensor, "*b 2"]:
        """Log-probabilities of 0 and 1 up to a constant: 0 and l."""
        return torch.cat([torch.zeros_like(parameters), parameters], dim=-1)

    def log_prob(self, parameters: Logit, x: Tensor) -> Reals:
        """log p(x) = log sigmoid((2x - 1) l) in nats; x broadcasts."""
        logit = _logit(parameters)
        return log_sigmoid(logit * (2 * x.to(logit.dtype) - 1))

    def draw(self, parameters: Logit, u: Reals) -> Levels:
        """1 where u in (0, 1) is above p(0)."""
        logit = _logit(parameters)
        return ((-logit).sigmoid() < u).long()

    def mean(self, parameters: Logit) -> Reals:
        """p(1)."""
        return _logit(parameters).sigmoid()


def _logit(parameters: Logit) -> Reals:
    """The logits, at least in float32; squeezed, for runtimes copy what is indexed."""
    return widened(parameters).squeeze(-1)
