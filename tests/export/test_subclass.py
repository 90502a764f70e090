"""A subclass of one of our models is a user's model: its cache is not written in place."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.dataspec import DataSpec
from ancestral.engine import Engine
from ancestral.errors import BundleError
from ancestral.export.bundle import export_bundle
from ancestral.export.known_answers import known_answers
from ancestral.train.models.families import build_model, family_of
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig

DATA = DataSpec(name="rows", event_shape=(6,), levels=5)
CONFIG = TransformerConfig(width=16, layers=1, heads=2)


class ReadsItsCache(Transformer):  # type: ignore[misc]
    """A model with the parent's conditionals, unless the cache is written in place."""

    def extend(
        self, tokens: Tensor, position: Tensor, cache: dict[str, Tensor], label: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        before = {name: tensor.clone() for name, tensor in cache.items()}
        parameters, new = super().extend(tokens, position, cache, label)
        changed = sum((cache[name] - before[name]).abs().sum() for name in before)
        values = torch.arange(parameters.shape[-1], dtype=parameters.dtype)
        return parameters + 100 * changed * values, new


class ReadsOtherValues(Transformer):  # type: ignore[misc]
    """A model that overrides `extend` only, and writes another cache."""

    def extend(
        self, tokens: Tensor, position: Tensor, cache: dict[str, Tensor], label: Tensor | None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        return super().extend(DATA.levels - 1 - tokens, position, cache, label)


def models() -> tuple[Transformer, ReadsItsCache]:
    """Return models of both classes with the same weights."""
    torch.manual_seed(3)
    parent = build_model(CONFIG, DATA).eval()
    own = ReadsItsCache(CONFIG, DATA).eval()
    own.load_state_dict(parent.state_dict())
    return parent, own


def test_known_answers() -> None:
    """Known answers are the parent's; a cache in place would draw other events."""
    expected, got = (known_answers(model) for model in models())
    assert np.array_equal(got["x"], expected["x"])
    assert np.array_equal(got["drawn"], expected["drawn"])


def test_prefill() -> None:
    """The cache of a prefill is that of the subclass's own `extend`."""
    model = ReadsOtherValues(CONFIG, DATA).eval()
    tokens, position = torch.tensor([[0, 1, 0]]), torch.zeros(1, dtype=torch.int64)
    given = (tokens, position, model.initial_cache(1), None)
    cache, expected = model.extend_cache(*given), model.extend(*given)[1]
    assert all(torch.equal(cache[name], expected[name]) for name in expected)
    parent = super(ReadsOtherValues, model).extend(*given)[1]
    assert not all(torch.equal(expected[name], parent[name]) for name in expected)


def test_family() -> None:
    parent, own = models()
    assert (family_of(parent), family_of(own)) == ("transformer", "ReadsItsCache")


@pytest.mark.slow
def test_engine(tmp_path: Path) -> None:
    """A bundle of the subclass needs the class, and then samples as another backend does."""
    _, own = models()
    export_bundle(own, tmp_path / "own", graphs=("log_prob", "logits", "redraw", "step"))
    with pytest.raises(BundleError, match="no model family 'ReadsItsCache'"):
        Engine.load(tmp_path / "own", backend="torch").sample(2)
    engine = Engine.load(tmp_path / "own", backend="torch", model=own)
    assert engine.verify().passed
    other = Engine.load(tmp_path / "own")
    assert np.array_equal(engine.sample(20).x, other.sample(20).x)
    # The engine has a copy, so a later change of the model has no effect.
    before = engine.sample(20)
    own.load_state_dict({name: 2 * tensor for name, tensor in own.state_dict().items()})
    assert np.array_equal(engine.sample(20).log_prob, before.log_prob)
