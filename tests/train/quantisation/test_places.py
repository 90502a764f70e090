"""The weights that can be quantised: each is found once, in every family."""

import pytest
import torch
from torch import nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.models.families import build_model
from ancestral.train.models.layers import Linear
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.train.quantisation import quantise as module
from ancestral.train.quantisation.places import Place, as_matrix, from_matrix, places
from ancestral.train.quantisation.quantise import check_plain, planned, quantise, without
from tests.latent_toys import LARGE_TOYS, LATENT_TOYS, make_latent
from tests.toys import TOYS, make

KINDS = {
    "tiny": {"map", "table"},
    "llama": {"map", "table"},
    "startless": {"map", "table"},
    "gru": {"map", "table", "recurrent"},
    "lstm": {"map", "table", "recurrent"},
    "wavenet": {"map", "table"},
    "pixelcnn": {"map", "table", "patches"},
    "channels": {"map", "table", "patches"},
    "table": set(),
    "bernoulli": {"map"},
    "linear": {"map"},
    "convolved": {"map", "convolution"},
    "colours": {"map", "convolution"},
    "mixture": {"map", "convolution"},
    "codes": {"convolution"},
    "diffusion": {"map", "convolution"},
}
"""Kinds of weights that each toy has."""


def toy_model(name: str) -> nn.Module:
    return make(name) if name in TOYS else make_latent(name)


def names(found: list[Place]) -> list[str]:
    return [place.name for place in found]


@pytest.mark.parametrize("toy", [*TOYS, *LATENT_TOYS, *LARGE_TOYS])
def test_every_family(toy: str) -> None:
    """Each matrix of a toy is found once, under its name in the state_dict."""
    model = toy_model(toy)
    found = list(places(model))
    assert {place.kind for place in found} == KINDS[toy]
    assert len(set(names(found))) == len(found)
    state = model.state_dict()
    for place in found:
        assert state[place.name].data_ptr() == place.weight.data_ptr()
        assert torch.equal(
            from_matrix(place.matrix, tuple(place.weight.shape), place.axis), place.weight
        )
        bias = getattr(place.module, "bias", None)
        if bias is not None and place.kind != "recurrent":
            assert len(place.matrix) == len(bias), "rows are output features"
    left = {
        name: parameter
        for name, parameter in model.named_parameters()
        if parameter.ndim > 1 and name not in names(found) and not name.endswith("bias")
    }
    # A prior over latents, a table of conditionals, and a learned first vector.
    known = ("pseudo", "mixture", "table", "prior", "start", "codebook")
    assert all(any(each in name for each in known) for name in left), sorted(left)


def test_axes() -> None:
    """A row of the matrix is an output feature of the module, whatever its layout."""
    weight = torch.arange(24.0).reshape(2, 3, 2, 2)
    assert as_matrix(weight, 0).shape == (2, 12)
    turned = as_matrix(weight, 1)
    assert turned.shape == (3, 8)
    assert torch.equal(turned[1].reshape(2, 2, 2), weight[:, 1])
    assert torch.equal(from_matrix(turned, (2, 3, 2, 2), 1), weight)


class Sharing(nn.Module):
    """A head that is its table, a map that two names have, and one that is neither."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(70, 64), nn.Linear(64, 70)
        self.head.weight = self.table.weight
        self.one, self.free = Linear(64, 64), Linear(64, 65)
        self.two = self.one


def test_shared_weights() -> None:
    """A weight of two modules is left out and said so; a module with two names counts once."""
    model = Sharing()
    found = names(list(places(model)))
    assert found == ["one.weight", "free.weight"]
    plan = planned(model, "int8")
    assert sorted(plan.tensors) == sorted(found)
    assert plan.kept == {"table.weight": "shared by two modules"}
    quantise(model, plan)
    assert model.head.weight is model.table.weight


def wide(tied: bool = False) -> nn.Module:
    data = DataSpec(name="wide", event_shape=(6,), levels=40)
    return build_model(TransformerConfig(width=64, layers=1, heads=2, tied=tied), data)


def test_plan() -> None:
    """What is too small is kept, with the reason; everything else has the settings."""
    model = wide()
    plan = planned(model, "int4", group=64, symmetric=False, compute="int8", half_scales=True)
    assert (plan.compute, plan.scales, plan.weights) == ("int8", "float16", "int4")
    sizes = {place.name: place.weight.numel() for place in places(model)}
    assert set(plan.tensors) == {name for name, size in sizes.items() if size >= 4096}
    assert set(plan.kept) == {name for name, size in sizes.items() if size < 4096}
    assert set(plan.kept.values()) == {"fewer than 4,096 numbers"}
    assert {(each.bits, each.group, each.symmetric) for each in plan.tensors.values()} == {
        (4, 64, False)
    }


def test_settings_by_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables are symmetric; recurrent layers and convolutions have 8 bits, the latter per row."""
    monkeypatch.setattr(module, "SMALLEST", 1)
    tensors = planned(make("gru"), "int4", group=16, symmetric=False).tensors
    assert tensors["layers.0.w"].bits == tensors["layers.0.r"].bits == 8
    assert tensors["layers.0.w"].symmetric
    assert tensors["inputs.token.weight"].symmetric
    assert (tensors["head.weight"].bits, tensors["head.weight"].symmetric) == (4, False)
    model = make_latent("convolved")
    for place in places(model):
        how = planned(model, "int4", group=16).tensors[place.name]
        if place.kind == "convolution":
            assert how.bits == 8
            assert how.group in {place.matrix.shape[1], place.matrix.shape[1] + 1}


def test_parameters_that_no_kernel_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large parameter that is not the weight of a known module is kept, with the reason."""
    monkeypatch.setattr(module, "SMALLEST", 1)
    kept = planned(make_latent("colours"), "int8").kept
    assert kept["pseudo_inputs.weight"] == "not a map, table, convolution or recurrent layer"


def test_tied_tables() -> None:
    """A tied table is stored once, and is both the look-up and the head."""
    model = wide(tied=True)
    assert "inputs.token.weight" in {place.name for place in places(model)}


def test_refused() -> None:
    model = wide()
    with pytest.raises(InvalidInput, match=r"group: expected one of \[16, 32, .*, got 24"):
        planned(model, "int8", group=24)
    with pytest.raises(InvalidInput, match=r"at least 4,096 numbers to quantise, got smaller ones"):
        planned(make("gru"), "int8")
    plan = planned(model, "int8")
    with pytest.raises(InvalidInput, match="plan: expected at least one weight to quantise"):
        without(plan, plan.tensors)
    settings = next(iter(plan.tensors.values()))
    other = plan.model_copy(update={"tensors": {"mine.weight": settings}})
    with pytest.raises(InvalidInput, match=r"expected weights of the model, got 'mine.weight'"):
        quantise(model, other)
    quantise(model, plan)
    with pytest.raises(InvalidInput, match="got one that is already quantised; use the float32"):
        check_plain(model)
    with pytest.raises(InvalidInput, match="got one that is already quantised; use the float32"):
        planned(model, "int8")


def test_without() -> None:
    """Weights that a plan leaves out are kept, and the reason is the plan."""
    plan = planned(wide(), "int8")
    name = sorted(plan.tensors)[0]
    less = without(plan, [name])
    assert set(less.tensors) == set(plan.tensors) - {name}
    assert less.kept == {**plan.kept, name: "left out by the plan"}
