"""A float32 model computes in float64, without a float64 copy of it."""

import copy

import pytest
import torch

from ancestral.export.memory.float64_mode import PIECE, Float64Mode
from ancestral.train.models.autoregressive import AutoregressiveModel
from tests.toys import TOYS, make


def events(model: AutoregressiveModel) -> tuple[torch.Tensor, torch.Tensor | None]:
    torch.manual_seed(1)
    x = torch.randint(model.data.levels, (5, model.data.length))
    classes = model.data.num_classes
    return x, None if classes is None else torch.arange(5) % classes


EXACT = 1e-13
"""Limit on the difference of two float64 computations, relative to the largest number.

A widened part of a weight and that part of a widened weight are at different places in memory, and
the bits of a product of matrices depend on where its factors are.
"""


def check_numbers_of_a_copy(toy: str, got: torch.Tensor) -> None:
    model = make(toy)
    with torch.no_grad():
        expected = model.double().logits(*events(model))
    assert got.dtype == torch.float64
    assert (got - expected).abs().max() < EXACT * expected.abs().max()


@pytest.mark.parametrize("toy", TOYS)
def test_numbers_of_a_copy(toy: str) -> None:
    """The numbers are those of a float64 copy, and the model is unchanged."""
    model = make(toy)
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad(), Float64Mode(model):
        got = model.logits(*events(model))
    check_numbers_of_a_copy(toy, got)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("toy", TOYS)
def test_bits_of_weights(toy: str) -> None:
    """Each weight is seen in float64, with the exact bits, as a whole or in part."""
    model = make(toy)
    wide = copy.deepcopy(model).double().state_dict()
    with torch.no_grad(), Float64Mode(model):
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            if tensor.is_floating_point():
                assert torch.equal(tensor * 1, wide[name]), name
                assert torch.equal(tensor[:1], wide[name][:1]), name


@pytest.mark.parametrize("toy", [toy for toy in TOYS if toy != "table"])
def test_numbers_of_float32_planted(toy: str) -> None:
    """Planted fault: a model that is not widened."""
    model = make(toy)
    with torch.no_grad():
        got = model.logits(*events(model)).double()
    with pytest.raises(AssertionError):
        check_numbers_of_a_copy(toy, got)


@pytest.mark.parametrize("toy", ["tiny", "llama", "startless", "gru"])
def test_in_pieces(toy: str) -> None:
    """Products with weights larger than a piece are as exact, if not equal to the bit."""
    model = make(toy)
    with torch.no_grad(), Float64Mode(model, piece=7):
        got = model.logits(*events(model))
    check_numbers_of_a_copy(toy, got)


@pytest.mark.parametrize("transposed", [True, False])
def test_a_piece_at_a_time(transposed: bool) -> None:
    """Both kinds of product work in pieces: the whole weight is never copied to float64."""
    weight = torch.nn.Parameter(torch.randn(40, 60))
    module = torch.nn.Module()
    module.register_parameter("weight", weight)
    bias = torch.nn.Parameter(torch.randn(40))
    module.register_parameter("bias", bias)
    x = torch.randn(3, 60 if transposed else 40, dtype=torch.float64)
    made: list[int] = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            if func is torch.ops.aten._to_copy.default:
                made.append(result.numel())
            return result

    with torch.no_grad(), Watch(), Float64Mode(module, piece=300):
        got = torch.nn.functional.linear(x, weight, bias) if transposed else x @ weight
    expected = x @ weight.double().T + bias.double() if transposed else x @ weight.double()
    assert torch.allclose(got, expected, rtol=1e-13, atol=1e-13)
    assert max(made) <= 300 < weight.numel() < PIECE


def test_properties_of_a_weight() -> None:
    """A weight and its views have type float64 and their own shape; outside the mode, float32."""
    layer = torch.nn.Linear(3, 2)
    with torch.no_grad(), Float64Mode(layer):
        assert layer.weight.dtype == torch.float64
        assert layer.weight.shape == (2, 3)
        assert layer.weight.T.dtype == layer.weight[0].dtype == torch.float64
        assert layer.weight.detach().dtype == torch.float64
        assert torch.ones(2).dtype == torch.float32
    assert layer.weight.dtype == torch.float32
