"""Priors p(z): the standard normal, a mixture of Gaussians, and the VampPrior.

References:
    Tomczak and Welling (2018), VAE with a VampPrior, arXiv:1705.07120.
"""

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.likelihoods.categorical import Categorical
from ancestral.train.likelihoods.gaussian import HALF_LOG_2PI
from ancestral.train.models.posteriors import Latents, PerLatent, standard_log_prob


@runtime_checkable
class Prior(Protocol):
    """A distribution over z [*l]; noise is an argument."""

    @property
    def chooses(self) -> bool:
        """Whether a draw needs a uniform for the component, in addition to the normal noise."""

    def log_prob(self, z: Latents) -> PerLatent:
        """Return log p(z) in nats."""

    def draw(
        self, noise: Latents, u: PerLatent | None, temperature: Float[Tensor, " b"]
    ) -> Latents:
        """Return z; the temperature scales the noise, and 0 gives a mean."""


@final
@dataclass(frozen=True, slots=True)
class StandardNormal:
    """N(0, I)."""

    chooses = False

    def log_prob(self, z: Latents) -> PerLatent:
        return standard_log_prob(z)

    def draw(
        self, noise: Latents, u: PerLatent | None, temperature: Float[Tensor, " b"]
    ) -> Latents:
        return noise * temperature.view(-1, *([1] * (noise.ndim - 1)))


@final
@dataclass(frozen=True, slots=True)
class Mixture:
    """A mixture of m diagonal Gaussians over z [d]."""

    logits: Float[Tensor, " m"]
    mean: Float[Tensor, "m d"]
    log_scale: Float[Tensor, "m d"]

    chooses = True

    def log_prob(self, z: Latents) -> PerLatent:
        deviation = (z[..., None, :] - self.mean) * (-self.log_scale).exp()
        each = -0.5 * (deviation * deviation).sum(dim=-1) - self.log_scale.sum(dim=-1)
        weighted = each + self.logits.log_softmax(dim=-1)
        return weighted.logsumexp(dim=-1) - HALF_LOG_2PI * self.mean.shape[-1]

    def draw(
        self, noise: Latents, u: PerLatent | None, temperature: Float[Tensor, " b"]
    ) -> Latents:
        assert u is not None
        logits = self.logits.expand(*u.shape, -1)
        component = Categorical(self.logits.shape[0]).draw(logits, u)
        scale = self.log_scale.exp()[component] * temperature[:, None, None]
        return self.mean[component] + scale * noise


@final
class MixturePrior(nn.Module):
    """A mixture with learned weights, means and scales."""

    def __init__(self, components: int, latent: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.mean = nn.Parameter(torch.randn(components, latent))
        self.log_scale = nn.Parameter(torch.zeros(components, latent))

    def forward(self) -> Mixture:
        """Return the mixture with the current weights."""
        return Mixture(self.logits, self.mean, self.log_scale)


@final
class PseudoInputs(nn.Module):
    """The VampPrior's learned events; the prior is the equal mixture of their posteriors."""

    def __init__(self, components: int, length: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.5 * torch.randn(components, length))

    def forward(self) -> Float[Tensor, "m t"]:
        """Return values in (-1, 1), as an encoder reads them."""
        return self.weight.tanh()
