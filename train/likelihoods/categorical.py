"""Likelihoods with logits as parameters: v logits for v levels, or one logit for two levels."""

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
    """Any distribution over v levels; its parameters are the logits, [.., v].

    Attributes:
        levels: number of levels v.
    """

    levels: int

    @property
    def size(self) -> int:
        """Number of parameters of one position."""
        return self.levels

    def logits(self, parameters: Logits) -> Logits:
        """Return the parameters themselves."""
        return parameters

    def log_prob(self, parameters: Logits, x: Levels) -> Reals:
        """Return log p(x) in nats, at least in float32."""
        return widened(parameters).log_softmax(dim=-1).gather(-1, x[..., None])[..., 0]

    def draw(self, parameters: Logits, u: Reals) -> Levels:
        """Return the value that u in (0, 1) draws from softmax(parameters)."""
        return inverse_cdf(unnormalised(parameters)[1], u)[0]


Logit = Float[Tensor, "*b 1"]
"""log p(1) - log p(0) of each position."""


@final
@dataclass(frozen=True, slots=True)
class Bernoulli:
    """A distribution over the levels 0 and 1; its parameter is the logit of 1, [.., 1].

    Attributes:
        levels: number of levels, always 2.

    Raises:
        InvalidInput: `levels` is not 2.
    """

    levels: int = 2
    size = 1

    def __post_init__(self) -> None:
        if self.levels != 2:
            raise InvalidInput(
                f"bernoulli: expected data of 2 levels, got {self.levels}; binarise the data, or "
                f"use the categorical or the logistic_mixture likelihood"
            )

    def logits(self, parameters: Logit) -> Float[Tensor, "*b 2"]:
        """Return the log-probabilities of 0 and 1 up to a constant: 0 and l, [.., 2]."""
        return torch.cat([torch.zeros_like(parameters), parameters], dim=-1)

    def log_prob(self, parameters: Logit, x: Tensor) -> Reals:
        """Return log p(x) = log sigmoid((2x - 1) l) in nats; x broadcasts."""
        logit = _logit(parameters)
        return log_sigmoid(logit * (2 * x.to(logit.dtype) - 1))

    def draw(self, parameters: Logit, u: Reals) -> Levels:
        """Return 1 where u in (0, 1) is above p(0), otherwise 0."""
        logit = _logit(parameters)
        return ((-logit).sigmoid() < u).long()

    def mean(self, parameters: Logit) -> Reals:
        """Return p(1), the mean of x."""
        return _logit(parameters).sigmoid()


def _logit(parameters: Logit) -> Reals:
    """Return the logits, at least in float32; squeezed, since runtimes copy what is indexed."""
    return widened(parameters).squeeze(-1)
