"""Folders of every kind become bundles that keep their probabilities on onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.export.bundle import export_bundle
from ancestral.train.hugging_face import load_hugging_face
from ancestral.train.models.graphs import GRAPH_NAMES, GraphName
from tests.train.hugging_face.oracle import LIMIT, MODELS, log_probs, make, write

LENGTH = 14
ALL_GRAPHS = ("mistral",)
"""The graphs of the others are the four that are enough to verify: exports take long."""
FEW: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "step")


def two_layers(name: str) -> dict[str, Any]:
    """Fields that make a model of the table smaller: the first two layers are kept."""
    kind, fields = MODELS[name]
    if "gpt2" in kind or kind == "imagegpt":
        return {"n_layer": 2}
    types = fields.get("layer_types")
    return {"num_hidden_layers": 2} | ({"layer_types": types[:2]} if types else {})


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_keeps_the_probabilities(silence: None, tmp_path: Path, name: str) -> None:
    theirs = make(name, **two_layers(name))
    folder = write(theirs, tmp_path / "folder")
    image = name == "imagegpt"
    loaded = load_hugging_face(folder, length=None if image else LENGTH)
    data, start = loaded.model.data, loaded.model.config.start
    graphs = GRAPH_NAMES if name in ALL_GRAPHS else FEW
    export_bundle(loaded.model, tmp_path / "bundle", files=loaded.files, own=True, graphs=graphs)
    engine = Engine.load(tmp_path / "bundle", backend="onnxruntime", threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    assert engine.verify().passed
    # And those of transformers itself: the bundle's own answers come out of our model.
    x = torch.randint(0, data.levels, (3, data.length), generator=torch.Generator().manual_seed(4))
    before = data.levels if start == "learned" else start
    expected = log_probs(theirs, x, before).sum(1)
    got = engine.log_prob(x.numpy().reshape(-1, *data.event_shape))
    np.testing.assert_allclose(got, expected, atol=data.length * LIMIT, rtol=0)
