"""p(x | z) of whole events, given the parameters that a decoder predicts."""

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
    """A distribution over events [t], given parameters [n, p]: p numbers for each of n groups.

    Log-probabilities are at least float32.
    """

    @property
    def continuous(self) -> bool:
        """Whether it is a density, drawn from normal noise; levels are drawn from uniforms."""

    @property
    def shape(self) -> tuple[int, int]:
        """Number of groups n, and of parameters p for each."""

    def log_prob(self, parameters: Float[Tensor, "*b n p"], x: Values) -> Float[Tensor, "*b"]:
        """Return log p(x [*b, t]) in nats, summed over the event; batch axes of x may be 1."""

    def logits(self, parameters: Float[Tensor, "*b n p"], x: Values) -> Float[Tensor, "*b t v"]:
        """Return the log-probabilities of all levels, given the values of x that each depends on.

        Raises:
            InvalidInput: the distribution is a density.
        """

    def draw(self, parameters: Float[Tensor, "*b n p"], noise: Float[Tensor, "*b t"]) -> Values:
        """Return the event that uniforms in (0, 1), or standard normal numbers, draw."""

    def mean(self, parameters: Float[Tensor, "*b n p"]) -> Float[Tensor, "*b t"]:
        """Return E[x | z] in units of levels."""


@final
@dataclass(frozen=True, slots=True)
class Independent:
    """p(x | z) with independent values given z: one group per value, n = t.

    Attributes:
        likelihood: likelihood of each value.
        length: number of values t of an event.
    """

    likelihood: Likelihood | Gaussian
    length: int

    @property
    def continuous(self) -> bool:
        """Whether the likelihood is a density."""
        return isinstance(self.likelihood, Gaussian)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of values, and of parameters per value."""
        return self.length, self.likelihood.size

    def log_prob(self, parameters: Float[Tensor, "*b n p"], x: Values) -> Float[Tensor, "*b"]:
        """Return log p(x | z) in nats, summed over the event."""
        if isinstance(self.likelihood, Categorical):
            # Its lookup does not broadcast. All others do, without copying x.
            x = x.expand(parameters.shape[:-1])
        return self.likelihood.log_prob(parameters, x).sum(dim=-1)

    def logits(self, parameters: Float[Tensor, "*b n p"], x: Values) -> Float[Tensor, "*b t v"]:
        """Return the log-probabilities of all levels of each value; not for a density."""
        if isinstance(self.likelihood, Gaussian):
            raise InvalidInput(
                "likelihood: expected a distribution over levels, got a density, which has no "
                "logits"
            )
        return self.likelihood.logits(parameters)

    def draw(self, parameters: Float[Tensor, "*b n p"], noise: Float[Tensor, "*b t"]) -> Values:
        """Return the event that uniforms in (0, 1), or standard normal numbers, draw."""
        return self.likelihood.draw(parameters, noise)

    def mean(self, parameters: Float[Tensor, "*b n p"]) -> Float[Tensor, "*b t"]:
        """Return E[x | z] in units of levels."""
        if isinstance(self.likelihood, Gaussian | Bernoulli):
            return self.likelihood.mean(parameters)
        return expected_level(self.likelihood.logits(parameters))


def expected_level(logits: Float[Tensor, "*b v"]) -> Float[Tensor, "*b"]:
    """Return the mean of a distribution over levels 0 .. v - 1, given its log-probabilities."""
    wide = widened(logits)
    levels = torch.arange(logits.shape[-1], device=logits.device).to(wide.dtype)
    return (wide.softmax(dim=-1) * levels).sum(dim=-1)
