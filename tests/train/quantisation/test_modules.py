"""Modules that store codes: the weight that they give back, their results and their state."""

import copy

import pytest
import torch
from torch import Tensor, nn

from ancestral.bundles.quantisation import Quantisation
from ancestral.dataspec import DataSpec
from ancestral.train.models.families import build_model
from ancestral.train.models.layers import CastingConv2d, CastingLinear, Linear, WideLinear
from ancestral.train.models.patch_convolution import PatchConvolution
from ancestral.train.models.recurrent import Layer
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.quantisation import modules
from ancestral.train.quantisation import quantise as module
from ancestral.train.quantisation.modules import QuantisedModule
from ancestral.train.quantisation.places import places
from ancestral.train.quantisation.quantise import hollow, planned, quantise
from ancestral.train.quantisation.rounding import nearest
from ancestral.triton_kernels.dequantise import dequantise
from ancestral.triton_kernels.quantised_linear import rounded

ROUNDING = 1e-5
"""Limit on differences of sums of a few numbers of about 1, in float32."""


@pytest.fixture(autouse=True)
def small_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plan to quantise weights of any size."""
    monkeypatch.setattr(module, "SMALLEST", 1)


def inputs(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.manual_seed(8))


def patches() -> PatchConvolution:
    return PatchConvolution(5, 6, range(-1, 1), range(-1, 2), 4)


MODULES = {
    "linear": (lambda: Linear(20, 6), inputs(3, 20)),
    "nn.Linear": (lambda: nn.Linear(20, 6), inputs(3, 20)),
    "casting": (lambda: CastingLinear(20, 6), inputs(2, 3, 20)),
    "wide": (lambda: WideLinear(20, 6), inputs(2, 20)),
    "table": (lambda: nn.Embedding(7, 20), torch.tensor([[0, 6], [3, 3]])),
    "patches": (patches, inputs(2, 3, 4, 5)),
    "convolution": (lambda: CastingConv2d(3, 4, 3), inputs(2, 3, 5, 5)),
    "transposed": (lambda: nn.ConvTranspose2d(3, 4, 4, stride=2), inputs(2, 3, 5, 5)),
    "recurrent": (lambda: Layer("gru", 6), inputs(2, 3, 6)),
}


def called(layer: nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, Layer):
        return layer(x, torch.zeros(len(x), 6))[0]
    if isinstance(layer, PatchConvolution):
        return layer.parallel(x)
    found: Tensor = layer(x)
    return found


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("weights", ["int8", "int4"])
@pytest.mark.parametrize("name", MODULES)
def test_weight_and_result(name: str, weights: str, symmetric: bool) -> None:
    """A module computes with the weight that its codes stand for, in the weight's own shape."""
    make, x = MODULES[name]
    torch.manual_seed(0)
    plain = make()
    layer = copy.deepcopy(plain)
    kind = "int8" if weights == "int8" else "int4"
    plan = planned(layer, kind, group=16, symmetric=symmetric)
    expected = {}
    for place in places(plain):
        how = plan.tensors[place.name]
        codes = nearest(place.matrix, how)
        matrix = dequantise(*codes, place.matrix.shape[1], how.bits)
        shape = place.weight.movedim(place.axis, 0).shape
        expected[place.name] = matrix.reshape(shape).movedim(0, place.axis)
        assert 0 < (expected[place.name] - place.weight).abs().max() < 1
        getattr(plain, place.attribute).data = expected[place.name].contiguous()
    quantise(layer, plan)
    assert isinstance(layer, QuantisedModule)
    assert isinstance(layer, type(plain))
    for each, weight in expected.items():
        assert torch.equal(getattr(layer, each), weight), each
    assert not set(expected) & set(layer.state_dict())
    with torch.no_grad():
        got, exact = called(layer, x), called(plain, x)
    assert got.shape == exact.shape
    assert (got - exact).abs().max() < ROUNDING


def test_rows() -> None:
    """A table gives any shape of ids the rows of its weight, to the bit."""
    table = nn.Embedding(9, 20)
    quantise(table, planned(table, "int4", group=16))
    for ids in (torch.tensor([8, 0, 8]), torch.arange(8).reshape(2, 2, 2)):
        assert torch.equal(table(ids), table.weight[ids])


def test_another_row_is_found() -> None:
    """Planted fault: a table that returns the next row differs."""
    table = nn.Embedding(9, 20)
    quantise(table, planned(table, "int8", group=16))
    assert not torch.allclose(table(torch.tensor([3])), table.weight[torch.tensor([4])])


def transformer(tied: bool = False) -> nn.Module:
    torch.manual_seed(5)
    data = DataSpec(name="wide", event_shape=(6,), levels=40)
    config = TransformerConfig(width=32, layers=2, heads=2, hidden=24, tied=tied)
    return build_model(config, data).eval()


@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
def test_state(tied: bool, symmetric: bool) -> None:
    """A hollow model that loads a state computes what the model of the state does, to the bit."""
    model = transformer(tied)
    plan = planned(model, "int4", group=16, symmetric=symmetric)
    quantise(model, plan)
    state = model.state_dict()
    assert all(f"{name}_codes" in state and name not in state for name in plan.tensors)
    with torch.device("meta"):
        empty = transformer(tied)
    hollow(empty, plan)
    shapes = {name: (each.shape, each.dtype) for name, each in empty.state_dict().items()}
    assert shapes == {name: (each.shape, each.dtype) for name, each in state.items()}
    empty.load_state_dict(state, assign=True)
    x = torch.randint(0, 40, (3, 6), generator=torch.manual_seed(2))
    with torch.no_grad():
        expected = model.logits(x, None)
        assert torch.equal(empty.logits(x, None), expected)
        again = copy.deepcopy(model)
        assert torch.equal(again.logits(x, None), expected)
        # The copy has codes of its own.
        again.blocks[0].up.weight_codes.fill_(0)
        assert torch.equal(model.logits(x, None), expected)
        assert not torch.equal(again.logits(x, None), expected)


def test_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model in float64 computes in float64 with the same codes."""
    monkeypatch.setattr(modules, "SMALLEST_ROUNDED", 1)
    x = torch.randint(0, 40, (3, 6), generator=torch.manual_seed(2))
    for compute in ("float32", "int8"):
        model = transformer()
        plan = planned(model, "int8", group=16, compute="int8" if compute == "int8" else "float32")
        quantise(model, plan)
        with torch.no_grad():
            near, exact = model.logits(x, None), copy.deepcopy(model).double().logits(x, None)
        assert exact.dtype == torch.float64
        assert 0 < (near - exact).abs().max() < (0.1 if compute == "int8" else 1e-4)


def test_rounded_activations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large maps round their activations if the plan says so; small ones and tables do not."""
    layer = CastingLinear(20, 6)
    plan = planned(layer, "int8", group=16, compute="int8")
    small, large = copy.deepcopy(layer), copy.deepcopy(layer)
    quantise(small, plan)
    monkeypatch.setattr(modules, "SMALLEST_ROUNDED", 120)
    quantise(large, plan)
    x = inputs(3, 20)
    exact = nn.functional.linear(x, small.weight, layer.bias)
    assert (small(x) - exact).abs().max() < ROUNDING
    expected = nn.functional.linear(rounded(x, 16), small.weight, layer.bias)
    assert (large(x) - expected).abs().max() < ROUNDING
    assert (large(x) - exact).abs().max() > 100 * ROUNDING, "rounding that is left out is found"


def test_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    """A convolution over patches is the same at one position and over the grid, in any case."""
    monkeypatch.setattr(modules, "SMALLEST_ROUNDED", 1)
    layer, x = patches(), inputs(2, 2, 4, 5)
    quantise(layer, planned(layer, "int8", group=16, compute="int8"))
    at, grid = 5, x.flatten(1, 2)
    around = torch.stack([grid[:, at + offset] for offset in layer.offsets], dim=1)
    one = layer.at(around, torch.tensor([[1], [1]]))
    assert (one[:, 0] - layer.parallel(x)[:, 1, 1]).abs().max() < ROUNDING


def test_rounding_of_activations() -> None:
    """Activations are rounded by group: the last group may be short, and zeros stay zeros."""
    x = inputs(4, 37)
    x[1], x[2, :16] = 0, 0
    found = rounded(x, 16)
    for start in range(0, 37, 16):
        part, got = x[:, start : start + 16], found[:, start : start + 16]
        step = part.abs().amax(-1, keepdim=True) / 127
        assert ((got - part).abs() <= 0.5 * step + 1e-6).all()
        assert (got[step[:, 0] == 0] == 0).all()
    assert torch.equal(rounded(x[0], 16), found[0]), "a row by itself is the same"


def test_plan_of_several_weights() -> None:
    """If a plan has one weight of a module, the module keeps the other as it is."""
    layer = Layer("lstm", 6)
    plan = planned(layer, "int8", group=16)
    less = Quantisation.model_validate(
        plan.model_dump() | {"tensors": {"w": plan.tensors["w"]}, "kept": {"r": "left out"}}
    )
    before = layer.r
    quantise(layer, less)
    assert layer.r is before
    assert set(layer.state_dict()) == {"r", "bias", "w_codes", "w_scale"}
