"""The contract of a latent variable model: p(x) = int p(x | z) p(z) dz, with a q(z | x) beside."""

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

    Subclasses are final and give `encode`, `decode`, `prior`. Noise is an argument.

    Events x are int64 levels [b, t]; where p(x | z) is a density, float32 values in units of
    levels, of which whole levels i stand for the interval [i, i + 1).

    Attributes:
        data: the space of events, without labels.
        latent_shape: of z.
        observation: p(x | what the decoder predicts).
        posterior: what the encoder's parameters mean; Codes where z is discrete and chosen.
    """

    data: DataSpec
    latent_shape: tuple[int, ...]
    observation: Observation
    posterior: Posterior | Codes

    @property
    @abstractmethod
    def prior(self) -> Prior | None:
        """p(z), as the weights are now; None where another model, beside this one, is the prior."""

    @abstractmethod
    def encode(self, x: Tensor) -> Parameters:
        """Parameters of q(z | x) for events [b, t]; `posterior` names them."""

    @abstractmethod
    def decode(self, z: Num[Tensor, "b ..."]) -> Float[Tensor, "b n p"]:
        """Parameters of p(x | z)."""

    @final
    @property
    def has_closed_kl(self) -> bool:
        """Whether KL(q || p) has a closed form: where the prior is the standard normal."""
        return isinstance(self.prior, StandardNormal)

    @final
    def log_likelihood(self, x: Tensor, z: Num[Tensor, "b k *l"]) -> PerLatent:
        """log p(x | z) in nats of each event under each of its z."""
        k = z.shape[1]
        parameters = self.decode(z.flatten(0, 1)).unflatten(0, (-1, k))
        return self.observation.log_prob(parameters, x[:, None])

    @final
    def log_weights(
        self, x: Tensor, q: Parameters, noise: Latents
    ) -> tuple[PerLatent, PerLatent, PerLatent]:
        """log p(x | z), log p(z), log q(z | x) in nats, of the z that the noise draws from q.

        Their sum, the last with a minus, is log w: its mean over k is the ELBO, its logmeanexp the
        importance-weighted bound.

        References:
            Burda, Grosse, Salakhutdinov (2016), arXiv:1509.00519, section 3.
        """
        prior = self.prior
        assert prior is not None
        assert not isinstance(self.posterior, Codes)
        z, log_q = self.posterior.draw(q, noise)
        return self.log_likelihood(x, z), prior.log_prob(z), log_q
