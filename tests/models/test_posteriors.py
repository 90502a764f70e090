"""q(z | x) and p(z): closed forms compared with torch's distributions and with Monte Carlo."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import (
    Categorical,
    Independent,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from ancestral.train.models.posteriors import Diagonal, Full, Parameters, standard_log_prob
from ancestral.train.models.priors import Mixture, StandardNormal
from ancestral.train.models.vae import VAE
from tests.latent_toys import make_latent

B, K, D = 3, 40_000, 3
FAMILIES = (Diagonal((D,)), Full(D))


def features(family: Diagonal | Full) -> Parameters:
    h = torch.randn(B, family.features, generator=torch.Generator().manual_seed(1)).double()
    return family.from_features(0.7 * h)


def same(family: Diagonal | Full, q: Parameters) -> torch.distributions.Distribution:
    """Return torch's distribution with these parameters."""
    if isinstance(family, Diagonal):
        return Independent(Normal(q[0], q[1].exp()), 1)
    return MultivariateNormal(q[0], scale_tril=q[1])


def noise(k: int) -> Tensor:
    return torch.randn(B, k, D, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


@pytest.mark.parametrize("family", FAMILIES, ids=["diagonal", "full"])
def test_log_prob_and_draw(family: Diagonal | Full) -> None:
    """log q(z | x) of draws is torch's, and the draws have q's mean and covariance."""
    q = features(family)
    z, log_q = family.draw(q, noise(K))
    oracle = same(family, q)
    expected = oracle.log_prob(z.transpose(0, 1)).T
    assert torch.allclose(log_q, expected, atol=1e-10)
    assert torch.allclose(z.mean(dim=1), q[0], atol=0.05)
    covariance = torch.stack([each.T.cov() for each in z])
    exact = torch.diag_embed((2 * q[1]).exp()) if len(q[1].shape) == 2 else q[1] @ q[1].mT
    assert torch.allclose(covariance, exact, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("family", FAMILIES, ids=["diagonal", "full"])
def test_kl(family: Diagonal | Full) -> None:
    """The closed form is torch's and Monte Carlo's, to 4 standard errors; a 5% error is found."""
    q = features(family)
    kl = family.kl_to_standard(q).sum(dim=-1)
    unit = MultivariateNormal(torch.zeros(D).double(), torch.eye(D).double())
    full = (
        MultivariateNormal(q[0], torch.diag_embed((2 * q[1]).exp()))
        if isinstance(family, Diagonal)
        else same(family, q)
    )
    assert torch.allclose(kl, kl_divergence(full, unit), atol=1e-10)
    z, log_q = family.draw(q, noise(K))
    each = log_q - standard_log_prob(z)
    error = each.std(dim=1) / math.sqrt(K)
    assert ((each.mean(dim=1) - kl).abs() <= 4 * error).all()
    assert ((each.mean(dim=1) - 1.05 * kl).abs() > 4 * error).any()


def test_kl_near_the_prior_is_not_lost() -> None:
    """The KL is accurate in float32 where both terms of 1/2 (s^2 - 1) - log s round to 0."""
    q = (torch.zeros(1, 1), torch.full((1, 1), 1e-4))
    assert torch.isclose(Diagonal((1,)).kl_to_standard(q)[0, 0], torch.tensor(1e-8), rtol=0.01)


def mixture() -> Mixture:
    generator = torch.Generator().manual_seed(3)
    parts = [torch.randn(*shape, generator=generator).double() for shape in ((4,), (4, D), (4, D))]
    return Mixture(parts[0], 2 * parts[1], 0.3 * parts[2])


def test_mixture() -> None:
    """The mixture is torch's; draws have its moments; temperature 0 gives a component's mean."""
    prior = mixture()
    oracle = MixtureSameFamily(
        Categorical(logits=prior.logits), Independent(Normal(prior.mean, prior.log_scale.exp()), 1)
    )
    z = 2 * noise(50)
    assert torch.allclose(prior.log_prob(z), oracle.log_prob(z), atol=1e-10)
    u = torch.rand(B, K, generator=torch.Generator().manual_seed(4))
    one = torch.ones(B, dtype=torch.float64)
    drawn = prior.draw(noise(K), u, one)
    assert torch.allclose(drawn.mean(dim=(0, 1)), oracle.mean, atol=0.05)
    assert torch.allclose(drawn.var(dim=(0, 1)), oracle.variance, rtol=0.05)
    cold = prior.draw(noise(K), u, 0 * one)
    assert (torch.cdist(cold.flatten(0, 1), prior.mean).min(dim=1).values < 1e-7).all()


def test_standard_normal() -> None:
    z = noise(5)
    assert torch.allclose(
        StandardNormal().log_prob(z), Normal(0.0, 1.0).log_prob(z).sum(dim=-1), atol=1e-12
    )


def test_vamp_prior_is_the_mixture_of_its_posteriors() -> None:
    """The exported mixture, which needs no encoder, is the prior that was trained."""
    model = make_latent("colours").double()
    assert isinstance(model, VAE)
    mean, log_scale = model.posterior.from_features(model.encoder(model.pseudo_inputs()))
    oracle = MixtureSameFamily(
        Categorical(logits=torch.zeros(4).double()), Independent(Normal(mean, log_scale.exp()), 1)
    )
    z = torch.randn(2, 6, 2, generator=torch.Generator().manual_seed(5)).double()
    expected = oracle.log_prob(z)
    assert model.prior is not None
    assert torch.allclose(model.prior.log_prob(z), expected, atol=1e-10)
    resolved = model.resolved()
    assert resolved.config.prior == "mixture"
    assert not hasattr(resolved, "pseudo_inputs")
    assert resolved.prior is not None
    assert torch.allclose(resolved.prior.log_prob(z), expected, atol=1e-10)
    assert hasattr(model, "pseudo_inputs"), "the model itself was changed"
