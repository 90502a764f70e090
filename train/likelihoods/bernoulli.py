"""The Bernoulli likelihood of binary data: one logit l, p(1) = sigmoid(l)."""

from dataclasses import dataclass
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.likelihood import log_sigmoid, widened


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

    def logits(self, parameters: Float[Tensor, "*b 1"]) -> Float[Tensor, "*b 2"]:
        """Log-probabilities of 0 and 1 up to a constant: 0 and l."""
        return torch.cat([torch.zeros_like(parameters), parameters], dim=-1)

    def log_prob(self, parameters: Float[Tensor, "*b 1"], x: Tensor) -> Float[Tensor, "*b"]:
        """log p(x) = log sigmoid((2x - 1) l) in nats; x broadcasts."""
        logit = _logit(parameters)
        return log_sigmoid(logit * (2 * x.to(logit.dtype) - 1))

    def draw(
        self, parameters: Float[Tensor, "*b 1"], u: Float[Tensor, "*b"]
    ) -> Int64[Tensor, "*b"]:
        """1 where u in (0, 1) is above p(0)."""
        logit = _logit(parameters)
        return ((-logit).sigmoid() < u).long()

    def mean(self, parameters: Float[Tensor, "*b 1"]) -> Float[Tensor, "*b"]:
        """p(1)."""
        return _logit(parameters).sigmoid()


def _logit(parameters: Float[Tensor, "*b 1"]) -> Float[Tensor, "*b"]:
    """The logits, at least in float32; squeezed, for runtimes copy what is indexed."""
    return widened(parameters).squeeze(-1)
