"""Rounding with error feedback: the rule itself, and what it does to the outputs of maps."""

import pytest
import torch
from torch import Tensor, nn

from ancestral.bundles.quantisation import QuantisedTensor
from ancestral.train.models.layers import Linear
from ancestral.train.quantisation.gptq import ErrorFeedback, fed_back, second_moments
from ancestral.train.quantisation.rounding import Codes, grouped, nearest, scales
from ancestral.triton_kernels.dequantise import dequantise_reference

INT4 = QuantisedTensor(bits=4, group=32, symmetric=True)


def numbers(codes: Codes, k: int) -> Tensor:
    return dequantise_reference(*codes, k, 4)


def inputs(k: int) -> Tensor:
    """Return correlated inputs [m, k]."""
    torch.manual_seed(0)
    return torch.randn(500, k) @ torch.randn(k, k) + 2 * torch.randn(500, 1)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("k", [32, 50, 96])
def test_outputs_change_less(k: int, symmetric: bool) -> None:
    """On the inputs that the moments are of, outputs are much closer than with nearest codes."""
    x, w = inputs(k), torch.randn(20, k)
    how = INT4.model_copy(update={"symmetric": symmetric})
    found = [fed_back(w, (x.T @ x).double(), how, half=False), nearest(w, how)]
    first, second = (float((x @ (numbers(codes, k) - w).T).square().sum()) for codes in found)
    assert first < 0.5 * second
    for ours, theirs in zip(*found, strict=True):
        assert (ours is None) == (theirs is None)
        assert ours is None or (ours.shape == theirs.shape and ours.dtype == theirs.dtype)


def test_against_the_rule_with_inverses() -> None:
    """Each column's error is spread by the inverse of the moments of the columns that are left."""
    k = 48
    x, w = inputs(k), torch.randn(6, k)
    h = (x.T @ x).double()
    h += 0.01 * h.diagonal().mean() * torch.eye(k)
    left, expected = w.double().clone(), torch.empty(6, k)
    for j in range(k):
        if j % 32 == 0:
            scale, _ = scales(grouped(left[:, j : j + 32].float(), 32), INT4, False)
        codes = (left[:, j].float() / scale[:, 0]).round().clamp(-8, 7)
        expected[:, j] = codes * scale[:, 0]
        inverse = torch.linalg.inv(h[j:, j:])
        error = (left[:, j] - expected[:, j]) / inverse[0, 0]
        left[:, j + 1 :] -= error[:, None] * inverse[0, 1:]
    found = numbers(fed_back(w, (x.T @ x).double(), INT4, half=False), k)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_independent_inputs() -> None:
    """If no column can make up for another, every number has its nearest code."""
    w = torch.randn(5, 70)
    for ours, theirs in zip(
        fed_back(w, torch.eye(70).double(), INT4, half=True),
        nearest(w, INT4, half=True),
        strict=True,
    ):
        assert ours is theirs is None or torch.equal(ours, theirs)


@pytest.mark.parametrize("zero", ["inputs", "weight", "both"])
def test_zeros(zero: str) -> None:
    """Inputs that are always 0, and groups of zeros, give finite numbers."""
    x, w = inputs(64), torch.randn(4, 64)
    if zero != "weight":
        x[:, :40] = 0
    if zero != "inputs":
        w[:, :32] = 0
    found = numbers(fed_back(w, (x.T @ x).double(), INT4, half=False), 64)
    assert found.isfinite().all()
    if zero != "inputs":
        assert (found[:, :32] == 0).all()
    found = numbers(fed_back(w, torch.zeros(64, 64).double(), INT4, half=False), 64)
    torch.testing.assert_close(found, numbers(nearest(w, INT4), 64))


def test_moments() -> None:
    """Moments are summed over all calls and positions; the hooks are gone afterwards."""
    model = nn.Sequential(Linear(3, 4), nn.Linear(4, 2), nn.Embedding(5, 2))
    x = torch.randn(7, 2, 3)

    def run() -> None:
        for part in x:
            model[1](model[0](part))

    found = second_moments(model, run)
    inner = model[0](x).flatten(0, 1)
    assert set(found) == {"0.weight", "1.weight"}
    torch.testing.assert_close(found["0.weight"].float(), x.flatten(0, 1).T @ x.flatten(0, 1))
    torch.testing.assert_close(found["1.weight"].float(), inner.T @ inner)
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_other_weights_are_rounded_to_nearest() -> None:
    """Tables, weights of 8 bits and maps without moments keep the nearest codes."""
    w, moments = torch.randn(4, 32), (inputs(32).T @ inputs(32)).double()
    rule = ErrorFeedback({"map": moments})
    int8 = INT4.model_copy(update={"bits": 8})
    assert not torch.equal(rule("map", w, INT4, False).codes, nearest(w, INT4).codes)
    assert torch.equal(rule("table", w, INT4, False).codes, nearest(w, INT4).codes)
    assert torch.equal(rule("map", w, int8, False).codes, nearest(w, int8).codes)
