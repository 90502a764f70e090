"""p(x | z) of whole events, given what a decoder predicts for them."""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.categorical import Bernoulli, Categorical
from ancestral.train.likelihoods.gaussian import Gaussian
from ancestral.train.likelihoods.likelihood import Likelihood, widened

Values = Tensor
"""Levels as int64, or real values in units of levels as float32."""


@runtime_checkable
class Observation(Protocol):
    """A distribution over events [t], given parameters [n, p]: n groups of values, p numbers each.

    Log-probabilities are at least float32.
    """

    @property
    def continuous(self) -> bool:
        """Whether it is a density over real values, drawn from normal noise; else by uniforms."""

    @property
    def shape(self) -> tuple[int, int]:
        """Groups n and numbers of each p."""

    def log_prob(self, parameters: Float[Tensor, "*b n p"], x: Values) -> Float[Tensor, "*b"]:
        """log p(x [*b, t]) in nats, summed over the event; batch axes of x may be 1."""

    def logits(self, parameters: Float[Tensor, "*b n p"], x: Values) -> Float[Tensor, "*b t v"]:
        """Log-probabilities of all levels of each value, given the values of x it depends on.

        Raises:
            InvalidInput: it is a density.
        """

    def draw(self, parameters: Float[Tensor, "*b n p"], noise: Float[Tensor, "*b t"]) -> Values:
        """The event that uniforms in (0, 1), or normal numbers, draw."""

    def mean(self, parameters: Float[Tensor, "*b n p"]) -> Float[Tensor, "*b t"]:
        """E[x | z] in units of levels."""


@final
@dataclass(frozen=True, slots=True)
class Independent:
    """Every value by itself, given z: n = t."""

    likelihood: Likelihood | Gaussian
    length: int

    @property
    def continuous(self) -> bool:
        return isinstance(self.likelihood, Gaussian)

    @property
    def shape(self) -> tuple[int, int]:
        return self.length, self.likelihood.size

    def log_prob(self, parameters: Float[Tensor, "*b n p"], x: Values) -> Float[Tensor, "*b"]:
        if isinstance(self.likelihood, Categorical):
            # Its look-up does not broadcast; all others do, without copies of x.
            x = x.expand(parameters.shape[:-1])
        return self.likelihood.log_prob(parameters, x).sum(dim=-1)

    def logits(self, parameters: Float[Tensor, "*b n p"], x: Values) -> Float[Tensor, "*b t v"]:
        if isinstance(self.likelihood, Gaussian):
            raise InvalidInput("logits: a density has none")
        return self.likelihood.logits(parameters)

    def draw(self, parameters: Float[Tensor, "*b n p"], noise: Float[Tensor, "*b t"]) -> Values:
        return self.likelihood.draw(parameters, noise)

    def mean(self, parameters: Float[Tensor, "*b n p"]) -> Float[Tensor, "*b t"]:
        if isinstance(self.likelihood, Gaussian | Bernoulli):
            return self.likelihood.mean(parameters)
        return expected_level(self.likelihood.logits(parameters))


def expected_level(logits: Float[Tensor, "*b v"]) -> Float[Tensor, "*b"]:
    """The mean of a distribution over levels 0 .. v - 1, given its log-probabilities."""
    wide = widened(logits)
    levels = torch.arange(logits.shape[-1], device=logits.device).to(wide.dtype)
    return (wide.softmax(dim=-1) * levels).sum(dim=-1)
