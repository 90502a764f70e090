"""The interface of a likelihood p(x_t | parameters), and functions that likelihoods share."""

from typing import Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

T = TypeVar("T", Tensor, Tensor | None)
Parameters = Float[Tensor, "*b p"]
"""p numbers for each position."""
Reals = Float[Tensor, "*b"]
"""One number for each position: a uniform in (0, 1), or a log-probability in nats."""
Levels = Int64[Tensor, "*b"]
"""The value of each position."""


@runtime_checkable
class Likelihood(Protocol):
    """A distribution over the levels 0 .. v - 1, given p parameters for each position."""

    @property
    def levels(self) -> int:
        """Number of levels v."""

    @property
    def size(self) -> int:
        """Number of parameters p of one position."""

    def logits(self, parameters: Parameters) -> Float[Tensor, "*b v"]:
        """Return the log-probabilities of all levels, possibly up to a constant."""

    def log_prob(self, parameters: Parameters, x: Levels) -> Reals:
        """Return log p(x) in nats, at least in float32."""

    def draw(self, parameters: Parameters, u: Reals) -> Levels:
        """Return the value that u in (0, 1) draws: the first with cumulative probability >= u."""


def draw_or_take(
    likelihood: Likelihood,
    parameters: Parameters,
    u: Reals,
    forced: Levels,
) -> tuple[Levels, Reals]:
    """Return the forced value, or a drawn one if it is negative, and its log p in nats."""
    value = torch.where(forced >= 0, forced, likelihood.draw(parameters, u))
    return value, likelihood.log_prob(parameters, value)


def widened(x: T) -> T:
    """Convert a 16-bit tensor to float32; return any other as it is."""
    return x.float() if x is not None and x.dtype.itemsize == 2 else x


def log_sigmoid(z: Reals) -> Reals:
    """Return log sigmoid(z), computed as min(z, 0) - log(1 + e^-|z|).

    PyTorch's function is exported to ONNX as the logarithm of a Sigmoid, which runtimes compute to
    a few units in the last place of 1: at z = -17 ONNX Runtime is off by 0.01 nats, and wrong
    below.
    """
    return z.clamp_max(0.0) - (-z.abs()).exp().log1p()
