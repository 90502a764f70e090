"""p(x | z): probabilities sum to 1, densities integrate to 1, and draws follow them."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.distributions import Normal

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.categorical import Bernoulli, Categorical
from ancestral.train.likelihoods.channel_mixture import ChannelMixture
from ancestral.train.likelihoods.gaussian import Gaussian
from ancestral.train.likelihoods.likelihood import draw_or_take
from ancestral.train.likelihoods.logistic_mixture import LogisticMixture
from ancestral.train.likelihoods.observation import Independent, expected_level

GRID = (torch.arange(2**14) + 0.5) / 2**14


@pytest.mark.parametrize("logit", [-40.0, -3.0, 0.0, 0.7, 20.0])
def test_bernoulli(logit: float) -> None:
    """Small probabilities are kept, draws follow p, and logits agree with log_prob."""
    parameters = torch.full((2, 1), logit, dtype=torch.float64)
    log_p = Bernoulli().log_prob(parameters, torch.tensor([0, 1]))
    assert torch.allclose(log_p.exp().sum(), torch.ones((), dtype=torch.float64), atol=1e-12)
    assert torch.allclose(log_p[1], torch.nn.functional.logsigmoid(parameters[1, 0]), rtol=1e-12)
    both = Bernoulli().logits(parameters[:1]).log_softmax(-1)[0]
    assert torch.allclose(both, log_p, rtol=1e-12)
    mean = Independent(Bernoulli(), 1).mean(parameters[:1])
    assert torch.isclose(mean[0], log_p[1].exp(), rtol=1e-9)
    drawn = Bernoulli().draw(torch.full((len(GRID), 1), logit), GRID)
    assert abs(float(drawn.double().mean()) - float(log_p[1].exp())) <= 1 / len(GRID)


def test_bernoulli_is_for_two_levels() -> None:
    with pytest.raises(InvalidInput, match="expected data of 2 levels, got 17; binarise"):
        Bernoulli(17)


def test_bernoulli_takes_or_draws() -> None:
    forced = torch.tensor([-1, 0, 1])
    value, log_p = draw_or_take(Bernoulli(), torch.zeros(3, 1), torch.full((3,), 0.9), forced)
    assert value.tolist() == [1, 0, 1]
    assert torch.allclose(log_p, torch.full((3,), np.log(0.5), dtype=torch.float32))


def test_gaussian_integrates_to_1() -> None:
    """The density integrates to 1 over x, in units of levels, and is torch's normal."""
    likelihood = Gaussian(levels=17, least_scale=1e-3)
    parameters = torch.tensor([0.4, np.log(0.07)], dtype=torch.float64)
    x = torch.linspace(-20, 40, 200_001, dtype=torch.float64)
    log_p = likelihood.log_prob(parameters.expand(len(x), 2), x)
    assert abs(float(torch.trapezoid(log_p.exp(), x)) - 1) < 1e-9
    expected = Normal(0.4 * 17, 0.07 * 17).log_prob(x)
    assert torch.allclose(log_p, expected, atol=1e-9)
    noise = torch.tensor([0.0, 1.0], dtype=torch.float64)
    drawn = likelihood.draw(parameters.expand(2, 2), noise)
    assert torch.allclose(drawn, torch.tensor([6.8, 6.8 + 1.19], dtype=torch.float64))


def test_gaussian_has_a_floor() -> None:
    """The scale has a least value, without which a density of discrete data is unbounded."""
    narrow = torch.tensor([0.5, -50.0])
    likelihood = Gaussian(levels=2, least_scale=0.01)
    peak = likelihood.log_prob(narrow, torch.tensor(1.0))
    assert torch.isclose(
        peak, -torch.tensor(0.01 * 2 * np.sqrt(2 * np.pi)).log().float(), atol=1e-4
    )
    with pytest.raises(InvalidInput, match="least_scale: expected a finite number > 0"):
        Gaussian(levels=2, least_scale=0.0)


def test_dequantised_density_is_a_bound() -> None:
    """E_u log p(x + u) is below the log of the mass of the cell."""
    likelihood = Gaussian(levels=4, least_scale=1e-3)
    parameters = torch.tensor([0.45, np.log(0.1)], dtype=torch.float64)
    for level in range(4):
        x = level + (torch.arange(10_000, dtype=torch.float64) + 0.5) / 10_000
        log_p = likelihood.log_prob(parameters.expand(len(x), 2), x)
        assert log_p.mean() < log_p.exp().mean().log()


def channels(last: bool) -> ChannelMixture:
    return ChannelMixture(LogisticMixture(3, 2), pixels=1, channels=3, channels_last=last)


@pytest.mark.parametrize("last", [True, False])
def test_channels_sum_to_1(last: bool) -> None:
    """p sums to 1 over the 27 colours of a pixel, is the product of conditionals, and draws fit."""
    target = channels(last)
    parameters = torch.randn(target.shape, generator=torch.Generator().manual_seed(3)).double()
    x = torch.tensor(list(product(range(3), repeat=3)))
    p = target.log_prob(parameters.expand(27, *target.shape), x).exp()
    assert torch.isclose(p.sum(), torch.ones((), dtype=torch.float64), atol=1e-12)
    each = target.logits(parameters.expand(27, *target.shape), x).log_softmax(-1)
    chain = each.gather(-1, x[..., None])[..., 0].sum(-1)
    assert torch.allclose(chain.exp(), p, atol=1e-12)
    u = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(4))
    drawn = target.draw(parameters.expand(20_000, *target.shape), u)
    counts = torch.bincount(drawn @ torch.tensor([9, 3, 1]), minlength=27) / 20_000
    assert (counts - p).abs().max() < 4 * (p / 20_000).sqrt().max()


def test_channels_first_or_last() -> None:
    """Log p, draws and means do not depend on the layout of channels in an event."""
    shape = (4, 3)
    last = ChannelMixture(LogisticMixture(5, 2), 4, 3, channels_last=True)
    first = ChannelMixture(LogisticMixture(5, 2), 4, 3, channels_last=False)
    parameters = torch.randn(2, *last.shape, generator=torch.Generator().manual_seed(5))
    x = torch.randint(5, (2, *shape), generator=torch.Generator().manual_seed(6))
    transposed = x.transpose(1, 2)
    torch.testing.assert_close(
        last.log_prob(parameters, x.flatten(1)), first.log_prob(parameters, transposed.flatten(1))
    )
    u = torch.rand(2, *shape, generator=torch.Generator().manual_seed(7))
    drawn = last.draw(parameters, u.flatten(1)).view(2, *shape)
    again = first.draw(parameters, u.transpose(1, 2).flatten(1)).view(2, 3, 4)
    assert torch.equal(drawn, again.transpose(1, 2))
    mean = last.mean(parameters).view(2, *shape)
    assert torch.allclose(mean, first.mean(parameters).view(2, 3, 4).transpose(1, 2))


def test_broadcasts() -> None:
    """An event broadcast over many parameters gives the result of copies."""
    for likelihood in (Categorical(3), LogisticMixture(3, 2), Bernoulli()):
        target = Independent(likelihood, 4)
        parameters = torch.randn(2, 5, *target.shape)
        x = torch.randint(likelihood.levels, (2, 1, 4))
        torch.testing.assert_close(
            target.log_prob(parameters, x), target.log_prob(parameters, x.expand(2, 5, 4))
        )


def test_expected_level() -> None:
    logits = torch.tensor([0.2, 0.3, 0.5]).log()
    assert torch.isclose(expected_level(logits), torch.tensor(1.3))


def test_a_density_has_no_levels() -> None:
    target = Independent(Gaussian(4, 0.1), 2)
    with pytest.raises(InvalidInput, match="got a density, which has no logits"):
        target.logits(torch.zeros(2, 2), torch.zeros(2))


def test_mean_of_channels() -> None:
    """`mean` is near the mean of draws, closest for the first channel, which depends on none."""
    target = channels(True)
    parameters = torch.randn(target.shape, generator=torch.Generator().manual_seed(8))
    u = torch.rand(20_000, 3, generator=torch.Generator().manual_seed(9))
    drawn = target.draw(parameters.expand(20_000, *target.shape), u).double()
    apart = (drawn.mean(dim=0) - target.mean(parameters)).abs()
    assert apart[0] < 0.02
    assert apart.max() < 0.15
