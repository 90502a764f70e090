"""A new family needs only a file (here this one) and a line in the table of families."""

from pathlib import Path
from typing import Annotated, final

import numpy as np
import pytest
import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.engine import Engine
from ancestral.errors import BundleError, CheckpointError, InvalidInput
from ancestral.export.bundle import export_bundle
from ancestral.signature import CacheEntry
from ancestral.train.checkpoint import load_checkpoint, save_checkpoint
from ancestral.train.models.autoregressive import (
    AutoregressiveModel,
    Cache,
    Events,
    Extended,
    Label,
    Positions,
    Tokens,
)
from ancestral.train.models.configuration import AutoregressiveConfig, Count, configuration
from ancestral.train.models.families import FAMILIES, Family, build_model, config_from_json

DATA = DataSpec(name="walks", event_shape=(5,), levels=4)


@configuration
class BagConfig(AutoregressiveConfig):
    """Shape of the network."""

    width: Count = 6
    fading: Annotated[float, Field(gt=0, le=1)] = 0.5


@final
class Bag(AutoregressiveModel):
    """p(x_t | a fading sum of vectors of the values before it)."""

    takes_blocks = False

    def __init__(self, config: BagConfig, data: DataSpec) -> None:
        super().__init__()
        self.config, self.data = config, data
        self.value = nn.Embedding(data.levels, config.width)
        self.output = nn.Linear(config.width, data.levels)

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        return (CacheEntry(name="bag", dtype="float32", axes=("b", self.config.width)),)

    def predict(self, x: Events, label: Label) -> Float[Tensor, "b t v"]:
        at = torch.arange(x.shape[1], device=x.device).to(self.output.weight.dtype)
        lag = at[:, None] - at
        faded = torch.where(lag > 0, self.config.fading**lag, 0.0)
        return self.output(faded @ self.value(x))

    def extend(self, tokens: Tokens, position: Positions, cache: Cache, label: Label) -> Extended:
        bag = self.config.fading * (cache["bag"] + self.value(tokens[:, 0]))
        bag = torch.where((position == 0)[:, None], 0.0, bag)
        return self.output(bag)[:, None], {"bag": bag}


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "bag", Family(BagConfig, Bag))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a checkpoint and a bundle of a Bag."""
    folder = tmp_path_factory.mktemp("bag")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FAMILIES, "bag", Family(BagConfig, Bag))
        torch.manual_seed(0)
        save_checkpoint(folder / "checkpoint", build_model(BagConfig(width=5), DATA))
        model, checkpoint = load_checkpoint(folder / "checkpoint")
        assert (checkpoint.config.family, type(model)) == ("bag", Bag)
        export_bundle(model, folder / "bundle", graphs=("log_prob", "logits", "redraw", "step"))
    return folder


@pytest.mark.usefixtures("known")
def test_backends_agree(folder: Path) -> None:
    samples = []
    for backend in ("onnxruntime", "torch"):
        engine = Engine.load(folder / "bundle", backend=backend)
        assert engine.verify().passed
        samples.append(engine.sample(8, seed=1).x)
    assert np.array_equal(*samples)


@pytest.mark.usefixtures("known")
def test_configuration_is_checked() -> None:
    assert config_from_json("bag", {"fading": 1}) == BagConfig(fading=1.0)
    with pytest.raises(InvalidInput, match="bag config: width: expected a number >= 1, got 0"):
        config_from_json("bag", {"width": 0})
    with pytest.raises(InvalidInput, match=r"BagConfig: fading: expected a number > 0, got 0\.0"):
        BagConfig(fading=0.0)


def test_unknown_without_its_line(folder: Path) -> None:
    """Without its line in the table, the family's files are refused; errors list the families."""
    with pytest.raises(CheckpointError, match=r"family: expected one of .*'wavenet'.*, got 'bag'"):
        load_checkpoint(folder / "checkpoint")
    with pytest.raises(BundleError, match="no model family 'bag'; pass the model"):
        Engine.load(folder / "bundle", backend="torch")
    with pytest.raises(InvalidInput, match="config: expected the configuration of one of"):
        build_model(BagConfig(), DATA)
