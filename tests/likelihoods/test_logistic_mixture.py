"""The discretised logistic mixture: exact masses, draws from its distribution, channels."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.channel_mixture import ChannelMixture
from ancestral.train.likelihoods.likelihood import draw_or_take
from ancestral.train.likelihoods.logistic_mixture import (
    LEAST_LOG_SCALE,
    LogisticMixture,
)
from tests.triton_kernels.single import exported, run

LEVELS = (2, 3, 17, 256, 1000)


def parameters(mixture: LogisticMixture, n: int, spread: float = 1.0) -> Tensor:
    """Return parameters [n, p], float64: means in and beyond the range, narrow and wide scales."""
    generator = torch.manual_seed(0)
    k = mixture.components
    weight = torch.randn(n, k, generator=generator, dtype=torch.float64)
    mean = 1.3 * torch.randn(n, k, generator=generator, dtype=torch.float64)
    scale = LEAST_LOG_SCALE + 9 * torch.rand(n, k, generator=generator, dtype=torch.float64)
    return torch.cat([weight, spread * mean, scale], dim=-1)


def direct(mixture: LogisticMixture, p: Tensor) -> Tensor:
    """Return masses [n, v] as differences of the cumulative distribution, in float64."""
    weight, mean, scale = (part[..., None, :] for part in p.chunk(3, dim=-1))
    edges = (2 * torch.arange(mixture.levels - 1, dtype=p.dtype) + 1) / (mixture.levels - 1) - 1
    inner = ((edges[:, None] - mean) / scale.exp()).sigmoid()
    ends = (
        torch.nn.functional.pad(inner, (0, 0, 1, 0)),
        torch.nn.functional.pad(inner, (0, 0, 0, 1), value=1.0),
    )
    return (weight.softmax(-1) * (ends[1] - ends[0])).sum(-1)


@pytest.mark.parametrize("levels", LEVELS)
def test_masses(levels: int) -> None:
    """Masses are those of the intervals, and sum to 1."""
    mixture = LogisticMixture(levels, 4)
    p = parameters(mixture, 50)
    log_mass = mixture.logits(p)
    assert (log_mass.exp() - direct(mixture, p)).abs().max() < 1e-12
    assert (log_mass.logsumexp(-1)).abs().max() < 1e-12
    x = torch.arange(50) % levels
    chosen = log_mass.gather(-1, x[:, None])[:, 0]
    assert (mixture.log_prob(p, x) - chosen).abs().max() < 1e-12


@pytest.mark.parametrize("levels", LEVELS)
def test_float32_keeps_small_masses(levels: int) -> None:
    """Masses far from narrow components are accurate in float32: no cancellation, no -inf."""
    mixture = LogisticMixture(levels, 4)
    p = parameters(mixture, 200)
    exact, got = mixture.logits(p), mixture.logits(p.float()).double()
    assert torch.isfinite(got).all()
    # Edges divided by scales reach several thousand, with a spacing of 2^-13 in float32.
    assert ((got - exact).abs() / (1 + exact.abs())).max() < 2e-5
    near = exact > -10
    assert (got - exact).abs()[near].max() < 2e-4
    # The edges of an interval, thousands of scales away, are rounded independently.
    assert got.logsumexp(-1).abs().max() < 1e-5


@pytest.mark.parametrize("levels", LEVELS)
def test_draw_counts_the_edges_below_u(levels: int) -> None:
    """On an even grid of n uniforms, value i is drawn n times its mass, within one."""
    mixture = LogisticMixture(levels, 3)
    p = parameters(mixture, 5, spread=0.5)
    n = 2**14
    u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    for row in p:
        value = mixture.draw(row.expand(n, -1), u)
        mass = mixture.logits(row).exp()
        edges = mass.cumsum(0)[:-1]
        assert torch.equal(value, (edges < u[:, None]).sum(-1))
        counts = torch.bincount(value, minlength=levels).double()
        assert (counts - n * mass).abs().max() <= 1.0


@pytest.mark.parametrize("levels", [17, 256, 65_536])
def test_one_level_can_be_certain(levels: int) -> None:
    """The least scale is narrow compared with a level, for any number of levels."""
    mixture = LogisticMixture(levels, 1)
    middle = levels // 2
    p = torch.tensor([[0.0, 2 * middle / (levels - 1) - 1, -30.0]], dtype=torch.float64)
    assert mixture.log_prob(p, torch.tensor([middle])).exp() > 0.9


def test_forced_values_win() -> None:
    mixture = LogisticMixture(17, 3)
    p, u = parameters(mixture, 6), torch.full((6,), 0.4)
    forced = torch.tensor([-1, 0, 16, -1, 5, -1])
    value, log_p = draw_or_take(mixture, p, u, forced)
    assert torch.equal(value, torch.where(forced >= 0, forced, mixture.draw(p, u)))
    assert torch.equal(log_p, mixture.log_prob(p, value))


class LogProb(torch.nn.Module):
    """A likelihood as a module, for the exporter."""

    def forward(self, parameters: Tensor, x: Tensor) -> Tensor:
        return LogisticMixture(256, 4).log_prob(parameters, x)


def test_exported_masses_far_from_the_components() -> None:
    """In ONNX Runtime, values thousands of scales away keep their log-probabilities."""
    mixture = LogisticMixture(256, 4)
    p, x = parameters(mixture, 400).float(), torch.arange(400) % 256
    p[:, 8:] -= 5.0  # narrow
    b = torch.export.Dim("b", min=1)
    session = exported(LogProb(), (p, x), "portable", ({0: b}, {0: b}))
    got = run(session, (p, x))[0].astype(np.float64)
    exact = mixture.log_prob(p.double(), x).numpy()
    assert (exact < -100).sum() > 20, "too few values are far away"
    assert ((exact > -40) & (exact < -15)).sum() > 5, "too few values are where a sigmoid rounds"
    assert (np.abs(got - exact) / (1 + np.abs(exact))).max() < 2e-5


def test_wider_interval_is_found() -> None:
    """Planted: edges that are a tenth of a level too far apart."""
    mixture, wider = LogisticMixture(17, 3), LogisticMixture(17, 3)
    p = parameters(mixture, 50)
    object.__setattr__(wider, "levels", 16.9)
    x = torch.arange(50) % 16
    assert (wider.log_prob(p, x) - mixture.log_prob(p, x)).abs().max() > 1e-2


def pixel_parameters(mixture: LogisticMixture, channels: int) -> Tensor:
    size = mixture.components * (1 + 2 * channels + channels * (channels - 1) // 2)
    return torch.randn(size, generator=torch.manual_seed(2), dtype=torch.float64)


def test_channels_are_one_mixture() -> None:
    """The product of conditionals is the mixture of products, as channels share components."""
    mixture, channels = LogisticMixture(4, 2), 3
    pixel = pixel_parameters(mixture, channels)
    every = torch.tensor(list(product(range(4), repeat=channels)))
    target = ChannelMixture(mixture, 1, channels, channels_last=True)
    got = target.log_prob(pixel.expand(len(every), 1, -1), every)
    assert abs(got.logsumexp(0)) < 1e-12, "probabilities of all pixels do not sum to 1"
    k, single = 2, LogisticMixture(4, 1)
    weight, means, scales = pixel[:k], pixel[k : 4 * k].view(3, k), pixel[4 * k : 7 * k].view(3, k)
    slopes = pixel[7 * k :].view(3, k).tanh()
    values = every.double() * 2 / 3 - 1
    each = weight.log_softmax(0).repeat(len(every), 1)
    for i in range(k):
        moved = [
            means[0, i].expand(len(every)),
            means[1, i] + slopes[0, i] * values[:, 0],
            means[2, i] + slopes[1, i] * values[:, 0] + slopes[2, i] * values[:, 1],
        ]
        for c in range(channels):
            p = torch.stack([torch.zeros(len(every)), moved[c], scales[c, i].expand(len(every))], 1)
            each[:, i] += single.log_prob(p, every[:, c])
    assert (each.logsumexp(1) - got).abs().max() < 1e-12


def test_earlier_channels_matter() -> None:
    mixture = LogisticMixture(4, 2)
    target = ChannelMixture(mixture, 1, 2, channels_last=True)
    pixel = pixel_parameters(mixture, 2)[None, None]
    one, other = (target.logits(pixel, torch.tensor([[value, 0]])) for value in (0, 3))
    assert torch.equal(one[0, 0], other[0, 0])
    assert not torch.allclose(one[0, 1], other[0, 1])


def test_refused() -> None:
    with pytest.raises(InvalidInput, match="at least 2 levels and 1 component, got 1 and 3"):
        LogisticMixture(1, 3)
    assert LogisticMixture(4, 2).size == 6
