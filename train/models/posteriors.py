"""Families of posteriors q(z | x): their parameters, how noise becomes z, and the closed KL.

Noise is standard normal and an argument: z is a differentiable function of it (the
reparameterisation of Kingma and Welling 2014, arXiv:1312.6114, section 2.4). log q(z | x) is
computed from the noise, not from z, so that nothing is divided by a scale.
"""

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from ancestral.train.likelihoods.gaussian import HALF_LOG_2PI

Parameters = tuple[Tensor, ...]
Latents = Float[Tensor, "b k *l"]
"""k latents of each event, or the standard normal noise that makes them."""
PerLatent = Float[Tensor, "b k"]
"""One number for each of k latents of each event, for example log p in nats."""


@runtime_checkable
class Posterior(Protocol):
    """A family of distributions over z [*l], given parameters."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes of the parameters of one event."""

    @property
    def features(self) -> int:
        """Number of features that an encoder makes for `from_features`."""

    def from_features(self, h: Float[Tensor, "b f"]) -> Parameters:
        """Return the parameters from an encoder's features."""

    def draw(self, q: Parameters, noise: Latents) -> tuple[Latents, PerLatent]:
        """Return z, and log q(z | x) in nats."""

    def kl_to_standard(self, q: Parameters) -> Float[Tensor, "b ..."]:
        """Return KL(q || N(0, I)) in nats, per dimension, or in total if they are dependent."""


@final
@dataclass(frozen=True, slots=True)
class Diagonal:
    """Independent latent dimensions, with mean and log_scale [b, *l]."""

    latent_shape: tuple[int, ...]

    names = ("mean", "log_scale")

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return self.latent_shape, self.latent_shape

    @property
    def features(self) -> int:
        return 2 * math.prod(self.latent_shape)

    def from_features(self, h: Float[Tensor, "b f"]) -> Parameters:
        mean, log_scale = h.chunk(2, dim=-1)
        return mean.unflatten(-1, self.latent_shape), log_scale.unflatten(-1, self.latent_shape)

    def draw(self, q: Parameters, noise: Latents) -> tuple[Latents, PerLatent]:
        mean, log_scale = q
        z = mean[:, None] + log_scale.exp()[:, None] * noise
        return z, standard_log_prob(noise) - log_scale.flatten(1).sum(dim=-1)[:, None]

    def kl_to_standard(self, q: Parameters) -> Float[Tensor, "b ..."]:
        mean, log_scale = q
        # expm1, because near q = p the terms of 1/2 (m^2 + s^2 - 1) - log s nearly cancel.
        excess = (2 * log_scale).expm1()
        return (0.5 * (mean * mean + excess) - log_scale).flatten(1)


@final
@dataclass(frozen=True, slots=True)
class Full:
    """Any covariance L L^T, with mean [b, d] and L [b, d, d], lower with a positive diagonal."""

    dimensions: int

    names = ("mean", "factor")

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.dimensions,), (self.dimensions, self.dimensions)

    @property
    def features(self) -> int:
        return self.dimensions * (1 + self.dimensions)

    def from_features(self, h: Float[Tensor, "b f"]) -> Parameters:
        d = self.dimensions
        square = h[:, d:].unflatten(-1, (d, d))
        diagonal = torch.eye(d, dtype=torch.bool, device=h.device)
        return h[:, :d], torch.where(diagonal, square.exp(), square.tril(-1))

    def draw(self, q: Parameters, noise: Latents) -> tuple[Latents, PerLatent]:
        mean, factor = q
        z = mean[:, None] + noise @ factor.transpose(-1, -2)
        return z, standard_log_prob(noise) - self._log_diagonal(factor).sum(dim=-1)[:, None]

    def kl_to_standard(self, q: Parameters) -> Float[Tensor, "b ..."]:
        mean, factor = q
        trace = (factor * factor).sum(dim=(-2, -1))
        log_det = self._log_diagonal(factor).sum(dim=-1)
        squares = trace + (mean * mean).sum(dim=-1) - self.dimensions
        return (0.5 * squares - log_det)[:, None]

    def _log_diagonal(self, factor: Float[Tensor, "b d d"]) -> Float[Tensor, "b d"]:
        diagonal = torch.eye(self.dimensions, dtype=factor.dtype, device=factor.device)
        return (factor * diagonal).sum(dim=-1).log()


@final
@dataclass(frozen=True, slots=True)
class Codes:
    """Deterministic codes [b, m], chosen by an encoder without noise."""

    latent_shape: tuple[int, ...]

    names = ("codes",)

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        return (self.latent_shape,)


def standard_log_prob(z: Latents) -> PerLatent:
    """Return log N(z; 0, I) in nats."""
    flat = z.flatten(2)
    return -0.5 * (flat * flat).sum(dim=-1) - HALF_LOG_2PI * flat.shape[-1]
