"""Known answers of draws with settings: the values by definition, and the certificate of ties."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.export.filter_answers import DRAWN, MARGINS, filter_answers, samplings
from ancestral.sampling import SETTINGS, Sampling
from tests.likelihoods import oracle

P = (0.3, 0.5, 0.15, 0.05)
"""Probabilities of four values; the sums before them, the most probable first: 0, .5, .8, .95."""


def answers(
    log_p: Tensor, sampling: Sampling, u: Tensor, near: Tensor | None = None
) -> dict[str, Tensor]:
    every: Any = sampling.settings(log_p.shape[-1])
    chosen = {
        name: every[name] if dtype == "int64" else float(np.float32(every[name]))
        for name, dtype in SETTINGS.items()
    }
    return filter_answers(log_p, log_p.float() if near is None else near, u, chosen)


def one(sampling: Sampling, u: float = 0.5, p: tuple[float, ...] = P) -> dict[str, float]:
    """Return the answers at one position with these probabilities."""
    log_p = torch.tensor([p], dtype=torch.float64).log()
    found = answers(log_p, sampling, torch.tensor([u]))
    return {name: value.item() for name, value in found.items()}


@pytest.mark.parametrize(
    ("sampling", "gap"),
    [
        (Sampling(top_k=1), np.log(0.5 / 0.3)),
        (Sampling(top_k=3), np.log(0.15 / 0.05)),
        (Sampling(0.5, top_k=3), 2 * np.log(0.15 / 0.05)),
        (Sampling(top_p=0.9), np.log(0.15 / 0.05)),
        (Sampling(min_p=0.2), np.log(0.3 / 0.2)),
        (Sampling(0.0), np.log(0.5 / 0.3)),
        (Sampling(top_p=0.99), np.inf),
    ],
    ids=str,
)
def test_gap(sampling: Sampling, gap: float) -> None:
    """How far the threshold is from the next value; infinite if there is none."""
    assert one(sampling)["filtered_gap"] == pytest.approx(gap, rel=1e-6)


@pytest.mark.parametrize(
    ("sampling", "u", "margin"),
    [
        (Sampling(top_p=0.9), 0.6, 0.05),
        (Sampling(top_p=0.81), 0.1, 0.01),
        (Sampling(top_p=0.6), 0.3, 0.075),
        (Sampling(top_k=2), 0.3, 0.075),
        (Sampling(0.0), 0.3, np.inf),
    ],
    ids=str,
)
def test_margin(sampling: Sampling, u: float, margin: float) -> None:
    """Distance of u from an edge of the filtered distribution, or of a mass from top-p's."""
    assert one(sampling, u)["filtered_margin"] == pytest.approx(margin, rel=1e-4)


def test_constructed_ties() -> None:
    """A mass at top-p's, a value at min-p's edge, equal values at top-k's: each is a tie."""
    assert one(Sampling(top_p=0.8), 0.3)["filtered_margin"] < 1e-7
    assert one(Sampling(min_p=0.3))["filtered_gap"] < 1e-7
    assert one(Sampling(min_p=0.1))["filtered_gap"] < 1e-7
    tied = (0.4, 0.2, 0.2, 0.2)
    assert one(Sampling(top_k=2), p=tied)["filtered_gap"] == 0
    assert one(Sampling(top_k=1), p=tied)["filtered_gap"] > 0.6
    assert one(Sampling(0.0), p=(0.4, 0.4, 0.1, 0.1))["tempered_gap"] == 0


def test_values_without_weight_make_no_tie() -> None:
    """Impossible values are not ties of each other, nor are those that float32 rounds to 0."""
    log_p = torch.tensor([[0.0, -np.inf, -np.inf, -200.0]], dtype=torch.float64)
    found = answers(log_p, Sampling(top_k=2), torch.tensor([0.5]))
    assert found["filtered_gap"].item() == np.inf
    assert all(not each.isnan().any() for each in found.values())
    assert found["gap_error"].item() == 0


def random(t: int, v: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(t, v, generator=generator, dtype=torch.float64)
    return logits.log_softmax(-1), torch.rand(t, generator=generator)


@pytest.mark.parametrize("v", [2, 3, 17, 300])
def test_drawn_by_definition(v: int) -> None:
    """The values that u draws from the distribution of the oracle, which sorts in numpy."""
    log_p, u = random(60, v)
    for sampling in samplings(v):
        found = answers(log_p, sampling, u)
        for name, each in zip(DRAWN, (Sampling(sampling.temperature), sampling), strict=True):
            p = np.array([oracle.filtered(row.numpy(), each) for row in log_p])
            edges = p.cumsum(-1) / p.sum(-1, keepdims=True)
            expected = (edges < u.double().numpy()[:, None]).sum(-1)
            assert np.array_equal(found[name].numpy(), expected), f"{name}, {sampling}"


@pytest.mark.parametrize("v", [5, 50])
def test_certificate(v: int) -> None:
    """Draws from logits with errors differ only at ties, and ties are few where errors are small.

    The errors are those that the answers measure, so the limits are theirs.
    """
    log_p, u = random(4000, v)
    noise = torch.randn(log_p.shape, generator=torch.Generator().manual_seed(1)).double()
    for error in (1e-2, 1e-4):
        near = log_p + error * noise
        for sampling in samplings(v):
            exact = answers(log_p, sampling, u, near.float())
            other = answers(near.log_softmax(-1), sampling, u)
            # Two values move towards each other.
            gap = 2 * exact["gap_error"].max()
            for name in DRAWN:
                ties = exact[f"{name}_margin"] <= exact["filtered_error"].max()
                ties |= exact[f"{name}_gap"] <= gap
                differs = exact[name] != other[name]
                assert not (differs & ~ties).any(), f"{name}, {sampling}, {error}"
                assert ties.double().mean() < max(0.05, 100 * error)
            if error == 1e-2 and sampling.temperature > 0:
                assert differs.any(), "no draw differs, so nothing was certified"


def test_without_the_gap_draws_are_unexplained() -> None:
    """Planted: margins without the gap of a filter leave differences of `test_certificate`."""
    log_p, u = random(4000, 50)
    near = log_p + 1e-2 * torch.randn(log_p.shape, generator=torch.Generator().manual_seed(1))
    sampling = Sampling(0.7, top_k=4)
    exact, other = answers(log_p, sampling, u, near.float()), answers(near, sampling, u)
    ties = exact["tempered_margin"] <= exact["filtered_error"].max()
    assert ((exact["filtered"] != other["filtered"]) & ~ties).any()


def test_names() -> None:
    found = one(Sampling())
    assert {*DRAWN, *MARGINS} < set(found)
    assert found["tempered"] == found["filtered"]
