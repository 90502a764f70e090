"""What p(x_t | parameters) must be able to do, whoever makes the parameters."""

from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

T = TypeVar("T", Tensor, Tensor | None)
Parameters = Float[Tensor, "*b p"]
"""p numbers for each position."""
Reals = Float[Tensor, "*b"]
"""A number for each position: a uniform in (0, 1), or a log-probability in nats."""
Levels = Int64[Tensor, "*b"]
"""A value of each position."""


@runtime_checkable
class Likelihood(Protocol):
    """A distribution over the levels 0 .. v - 1, given p numbers for each position."""

    @property
    def levels(self) -> int:
        """Number of values v."""

    @property
    def size(self) -> int:
        """Number of parameters p of one position."""

    def logits(self, parameters: Parameters) -> Float[Tensor, "*b v"]:
        """Log-probabilities of all levels, perhaps up to a constant."""

    def log_prob(self, parameters: Parameters, x: Levels) -> Reals:
        """log p(x) in nats, at least in float32."""

    def draw(self, parameters: Parameters, u: Reals) -> Levels:
        """The value that u in (0, 1) draws: the first whose cumulative probability reaches u."""


def draw_or_take(
    likelihood: Likelihood,
    parameters: Parameters,
    u: Reals,
    forced: Levels,
) -> tuple[Levels, Reals]:
    """The forced value, or a drawn one where it is negative; and log p of it, in nats."""
    value = torch.where(forced >= 0, forced, likelihood.draw(parameters, u))
    return value, likelihood.log_prob(parameters, value)


def widened(x: T) -> T:
    """At least in float32."""
    return x.float() if x is not None and x.dtype.itemsize == 2 else x


def log_sigmoid(z: Reals) -> Reals:
    """log sigmoid(z) = min(z, 0) - log(1 + e^-|z|), written out.

    PyTorch's own becomes the logarithm of a Sigmoid in ONNX, which runtimes hold to a few units of
    the last place of 1: at z = -17, off by 0.01 nats in ONNX Runtime, and wrong below.
    """
    return z.clamp_max(0.0) - (-z.abs()).exp().log1p()
