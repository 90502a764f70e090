"""Forwards that reuse stages are whole forwards, for every weight of every family."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ancestral.precision.replay import Recording
from ancestral.train.bounds import bound
from ancestral.train.models.families import Model
from ancestral.train.models.latent_variable import LatentVariableModel
from ancestral.train.models.vqvae import VQVAE
from ancestral.train.quantisation.places import places
from tests.latent_toys import LARGE_TOYS, LATENT_TOYS, make_latent
from tests.toys import TOYS, make


def forward(model: Model) -> Tensor:
    """Return numbers that depend on every weight."""
    x = np.random.default_rng(0).integers(0, model.data.levels, (3, model.data.length))
    if isinstance(model, VQVAE):
        (codes,) = model.encode(torch.from_numpy(x))
        return model.log_likelihood(torch.from_numpy(x), codes[:, None])
    if isinstance(model, LatentVariableModel):
        return torch.from_numpy(bound(model, x, k=3).iwae)
    classes = model.data.num_classes
    label = None if classes is None else torch.arange(3) % classes
    with torch.no_grad():
        return model.logits(torch.from_numpy(x), label)


@pytest.mark.parametrize("name", [*TOYS, *LATENT_TOYS, *LARGE_TOYS])
@torch.no_grad()
def test_reused_forwards_are_whole_forwards(name: str) -> None:
    model = make_latent(name) if name in {*LATENT_TOYS, *LARGE_TOYS} else make(name)
    recording = Recording(model)
    before = recording.record(lambda: forward(model))
    for place in places(model):
        weight = place.weight.data
        place.weight.data = weight + 0.1 * torch.randn(weight.shape)
        whole = forward(model)
        with recording.replayed(place.name):
            reused = forward(model)
        place.weight.data = weight
        assert torch.equal(reused, whole), place.name
    assert torch.equal(forward(model), before)


def test_stages_before_a_weight_are_kept() -> None:
    """A block's weight keeps the blocks before it; the head keeps all, the embedding none."""
    model = make("tiny")
    recording = Recording(model)
    recording.record(lambda: forward(model))
    assert recording.kept("inputs.token.weight") == []
    assert recording.kept("blocks.0.qkv.weight") == []
    assert recording.kept("blocks.1.down.weight") == ["blocks.0"]
    assert recording.kept("head.weight") == ["blocks.0", "blocks.1"]


def test_tied_table_keeps_nothing() -> None:
    """The table of a tied model is read before the blocks and after them."""
    model = make("llama")
    recording = Recording(model)
    recording.record(lambda: forward(model))
    assert recording.kept("inputs.token.weight") == []


def test_stage_that_runs_again() -> None:
    """A stage that also runs after the changed weight is computed again."""

    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.list = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
            self.last = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            first = self.list[0](self.list[1](x))
            changed: Tensor = self.list[1](self.last(first))
            return changed

    model = Twice()
    recording = Recording(model)
    recording.record(lambda: model(torch.ones(1, 2)))
    assert recording.kept("last.weight") == ["list.0"]


def test_an_error_leaves_the_model_as_it_was() -> None:
    model = make("tiny")
    recording = Recording(model)
    recording.record(lambda: forward(model))
    with pytest.raises(ZeroDivisionError), recording.replayed("head.weight"):
        raise ZeroDivisionError
    assert all("forward" not in vars(module) for module in model.modules())
