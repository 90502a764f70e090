"""Interface of latent variable models: p(x) = int p(x | z) p(z) dz, with an encoder q(z | x)."""

from abc import ABC, abstractmethod
from typing import final

from jaxtyping import Float, Num
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.train.likelihoods.observation import Observation
from ancestral.train.models.posteriors import Codes, Latents, Parameters, PerLatent, Posterior
from ancestral.train.models.priors import Prior, StandardNormal


class LatentVariableModel(nn.Module, ABC):
    """A decoder p(x | z), a prior p(z) and an encoder q(z | x).

    Subclasses are final and define `encode`, `decode` and `prior`. Noise is an argument.

    Events x are int64 levels [b, t]. If p(x | z) is a density, they are float32 values in units of
    levels, where level i stands for the interval [i, i + 1).

    Attributes:
        data: space of the events, without labels.
        latent_shape: shape of z.
        observation: p(x | parameters), where the decoder predicts the parameters.
        posterior: the family of q(z | x); Codes if z is discrete and deterministic.
    """

    data: DataSpec
    latent_shape: tuple[int, ...]
    observation: Observation
    posterior: Posterior | Codes

    @property
    @abstractmethod
    def prior(self) -> Prior | None:
        """The prior p(z) with the current weights; None if another model is the prior."""

    @abstractmethod
    def encode(self, x: Tensor) -> Parameters:
        """Return the parameters of q(z | x) for events [b, t]; `posterior` has their names."""

    @abstractmethod
    def decode(self, z: Num[Tensor, "b ..."]) -> Float[Tensor, "b n p"]:
        """Return the parameters of p(x | z)."""

    @final
    @property
    def has_closed_kl(self) -> bool:
        """Whether KL(q || p) has a closed form; true for the standard normal prior."""
        return isinstance(self.prior, StandardNormal)

    @final
    def log_likelihood(self, x: Tensor, z: Num[Tensor, "b k *l"]) -> PerLatent:
        """Return log p(x | z) in nats of each event under each of its k latents."""
        k = z.shape[1]
        parameters = self.decode(z.flatten(0, 1)).unflatten(0, (-1, k))
        return self.observation.log_prob(parameters, x[:, None])

    @final
    def log_weights(
        self, x: Tensor, q: Parameters, noise: Latents
    ) -> tuple[PerLatent, PerLatent, PerLatent]:
        """Return log p(x | z), log p(z) and log q(z | x) in nats, for z drawn from q with noise.

        log w is the sum of the first two minus the third. Its mean over k is the ELBO, and its
        logmeanexp is the importance-weighted bound.

        Args:
            x: events, [b, t].
            q: parameters of q(z | x), from `encode`.
            noise: standard normal numbers, [b, k, *latent_shape].

        References:
            Burda, Grosse, Salakhutdinov (2016), arXiv:1509.00519, section 3.
        """
        prior = self.prior
        assert prior is not None
        assert not isinstance(self.posterior, Codes)
        z, log_q = self.posterior.draw(q, noise)
        return self.log_likelihood(x, z), prior.log_prob(z), log_q
