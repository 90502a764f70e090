"""The end of a sampling step in PyTorch: temperatures, and what temperature 1 leaves as it is."""

import pytest
import torch
from torch import Tensor

from ancestral.triton_kernels.sample_token import Drawn, sample_token
from ancestral.triton_kernels.sample_token.adjustments import Adjusted, Adjustments
from ancestral.triton_kernels.sample_token.alternatives import TopValues, sample_adjusted
from ancestral.triton_kernels.sample_token.filters import Filters, Temperature
from ancestral.triton_kernels.sample_token.inverse_cdf import inverse_cdf, unnormalised

WARMTHS = torch.tensor([1.0, 0.5, 1.0, 1.7, 0.0, 0.0])
V = [17, 256, 300, 5000]


def logits_of(v: int) -> Tensor:
    """Far from uniform; the highest of the last row are tied."""
    logits = 2 * torch.randn(len(WARMTHS), 1, v, generator=torch.Generator().manual_seed(v))
    logits[-1, 0, [v // 2, v - 1]] = 50.0
    return logits


def run(logits: Tensor, settings: Temperature | Filters, forced: Tensor) -> tuple[Tensor, ...]:
    """Value, log p and log q of each row at position 0, and its uniform."""
    b = len(logits)
    u = torch.rand(b, 3, generator=torch.Generator().manual_seed(b))
    state = Drawn(torch.zeros(b).long(), torch.zeros(b, 3).long(), *torch.zeros(2, b, 3))
    observed = forced[:, None].expand(b, 3)
    at = torch.zeros(b, 1).long()
    got = sample_token(logits, at, u, observed, state, settings, repeats=True)
    assert got.log_q is not None
    return got.values[:, 0], got.log_p[:, 0], got.log_q[:, 0], u[:, 0]


@pytest.mark.parametrize("v", V)
def test_temperature_1_has_the_bits_of_the_model(v: int) -> None:
    """The value that u draws of exp(l - max l); log p and log q are one number."""
    logits, free = logits_of(v), torch.full((len(WARMTHS),), -1)
    value, log_p, log_q, u = run(logits, Temperature(torch.ones(len(logits))), free)
    shifted, w = unnormalised(logits[:, 0])
    drawn, total = inverse_cdf(w, u)
    assert torch.equal(value, drawn)
    assert torch.equal(log_p, shifted.gather(1, drawn[:, None])[:, 0] - total.log())
    assert torch.equal(log_q, log_p)


def check_temperatures(v: int, fault: float = 1.0) -> None:
    """Each row draws at its own temperature; log p is the model's, whatever the temperature."""
    logits, free = logits_of(v), torch.full((len(WARMTHS),), -1)
    value, log_p, log_q, u = run(logits, Temperature(WARMTHS * fault), free)
    exact = logits[:, 0].double()
    model = exact.log_softmax(-1).gather(1, value[:, None])[:, 0]
    assert (log_p - model).abs().max() < 1e-5
    warm = WARMTHS > 0
    cooled = (exact[warm] / WARMTHS[warm, None].double()).log_softmax(-1)
    edges = torch.nn.functional.pad(cooled.exp().cumsum(-1), (1, 0))
    drawn = value[warm, None]
    assert (edges.gather(1, drawn)[:, 0] - u[warm]).max() < 2e-6, "value above u"
    assert (u[warm] - edges.gather(1, drawn + 1)[:, 0]).max() < 2e-6, "value below u"
    assert (log_q[warm] - cooled.gather(1, drawn)[:, 0]).abs().max() < 1e-5, "log q"
    assert torch.equal(value[~warm], exact[~warm].argmax(-1)), "the first of the highest"
    assert not log_q[~warm].any()


@pytest.mark.parametrize("v", V)
def test_temperatures(v: int) -> None:
    check_temperatures(v)
    with pytest.raises(AssertionError, match=r"value|log q"):
        check_temperatures(v, fault=1.01)


@pytest.mark.parametrize("v", V)
def test_forced(v: int) -> None:
    """An observed value wins at each temperature, with log q 0 and the model's log p."""
    logits = logits_of(v)
    forced = torch.arange(len(WARMTHS)) % 3
    ones = torch.ones(len(WARMTHS))
    _, model, _, _ = run(logits, Temperature(ones), forced)
    value, log_p, log_q, _ = run(logits, Temperature(WARMTHS), forced)
    assert torch.equal(value, forced)
    assert torch.equal(log_p, model)
    assert not log_q.any()


@pytest.mark.parametrize("v", V)
def test_filters_that_are_off(v: int) -> None:
    """Filters that are off change no draw, and temperature 0 wins over every filter."""
    logits, free = logits_of(v), torch.full((len(WARMTHS),), -1)
    ones = torch.ones(len(WARMTHS))
    off = Filters(WARMTHS, torch.full((len(WARMTHS),), v), ones, 0 * ones)
    plain, filtered = (run(logits, each, free) for each in (Temperature(WARMTHS), off))
    assert torch.equal(plain[0], filtered[0])
    assert (plain[2] - filtered[2]).abs().max() < 1e-5
    greedy = run(logits, off._replace(temperature=0 * ones, min_p=ones / 2), free)
    assert torch.equal(greedy[0], logits[:, 0].argmax(-1))


@pytest.mark.parametrize("v", V)
def test_adjustments_that_are_off(v: int) -> None:
    """A draw from adjusted logits is that of `sample_token`; a cold row keeps its first maximum."""
    logits, b, k = logits_of(v), len(WARMTHS), 3
    u = torch.rand(b, 3, generator=torch.Generator().manual_seed(b))
    at, observed = torch.zeros(b, 1).long(), torch.full((b, 3), -1)
    ones = torch.ones(b)
    filters = Filters(WARMTHS, torch.full((b,), v), 0.9 * ones, 0 * ones)
    off = Adjustments(torch.zeros(b, v), ones, 0 * ones, 0 * ones)
    state = Drawn(torch.zeros(b).long(), torch.zeros(b, 3).long(), *torch.zeros(2, b, 3))
    ids = torch.zeros(b, 3, k).long()
    top = TopValues(ids, torch.zeros(b, 3, k), ids, torch.zeros(b, 3, k))
    plain = sample_token(logits, at, u, observed, state, filters, repeats=True)
    settings = Adjusted(off, filters)
    drawn, best = sample_adjusted(logits, at, u, observed, (state, top), settings, repeats=True)
    assert torch.equal(drawn.values, plain.values)
    assert torch.equal(drawn.log_p, plain.log_p)
    assert drawn.log_q is not None
    assert plain.log_q is not None
    assert torch.equal(drawn.log_q, plain.log_q)
    cold = WARMTHS == 0
    assert torch.equal(best.filtered_ids[cold, 0, 0], drawn.values[cold, 0])
    assert torch.equal(
        best.log_q[cold, 0], torch.tensor([0.0, -torch.inf, -torch.inf]).expand(2, k)
    )
