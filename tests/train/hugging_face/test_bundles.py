"""Folders of every kind become bundles with the same probabilities, and TensorRT plans."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from ancestral.bundles.bundle import Bundle
from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.export.bundle import export_bundle
from ancestral.export.tensorrt.compile import Compiler
from ancestral.plans.store import PlanStore
from ancestral.train.hugging_face import load_hugging_face
from ancestral.train.models.graphs import GRAPH_NAMES, GraphName
from tests.export.plan_table import BUILT, SMALL, built
from tests.train.hugging_face.oracle import KINDS, LIMIT, MODELS, log_probs, make, write

if TYPE_CHECKING:
    from transformers import PreTrainedModel

pytestmark = pytest.mark.slow
LENGTH = 14
FEW: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "step")
"""Graphs of the models that are variants of a kind: exports take long."""


@pytest.fixture(scope="module")
def exported(
    silence: None, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], tuple["PreTrainedModel", Path]]:
    """Return a function that gives a model of the table and its bundle, exported once."""
    made: dict[str, tuple[PreTrainedModel, Path]] = {}

    def get(name: str) -> tuple["PreTrainedModel", Path]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            theirs = make(name, **two_layers(name))
            length = None if name == "imagegpt" else LENGTH
            loaded = load_hugging_face(write(theirs, folder / "folder"), length=length)
            graphs = GRAPH_NAMES if name in KINDS else FEW
            out = folder / "bundle"
            export_bundle(loaded.model, out, files=loaded.files, own=True, graphs=graphs)
            made[name] = theirs, out
        return made[name]

    return get


def two_layers(name: str) -> dict[str, Any]:
    """Return fields that make a model of the table smaller: only its first two layers."""
    kind, fields = MODELS[name]
    if "gpt2" in kind or kind == "imagegpt":
        return {"n_layer": 2}
    types = fields.get("layer_types")
    return {"num_hidden_layers": 2} | ({"layer_types": types[:2]} if types else {})


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("name", MODELS)
def test_a_bundle_keeps_the_probabilities(
    exported: Callable[[str], tuple["PreTrainedModel", Path]], name: str, backend: str
) -> None:
    """A bundle has the log-probabilities of our model, and those of transformers."""
    theirs, path = exported(name)
    engine = Engine.load(path, backend=backend, threads=1)
    assert isinstance(engine, AutoregressiveEngine)
    report = engine.verify()
    assert report.passed, report.failures
    config, data = engine.bundle.manifest.components["model"].config, engine.data
    start = config["start"]
    x = torch.randint(0, data.levels, (3, data.length), generator=torch.Generator().manual_seed(4))
    before = data.levels if start == "learned" else start
    expected = log_probs(theirs, x, before).sum(1)
    got = engine.log_prob(x.numpy().reshape(-1, *data.event_shape))
    np.testing.assert_allclose(got, expected, atol=data.length * LIMIT, rtol=0)


@pytest.mark.tensorrt
@pytest.mark.skipif(not BUILT, reason="tensorrt_rtx is not installed")
@pytest.mark.parametrize("name", KINDS)
def test_every_graph_builds(
    exported: Callable[[str], tuple["PreTrainedModel", Path]], tmp_path: Path, name: str
) -> None:
    """Every graph becomes a plan, and a step appends to every cache in place, windowed or not."""
    bundle = Bundle.open(exported(name)[1])
    compiler = Compiler.open(SMALL, PlanStore(tmp_path / "plans"))
    cells = {graph: built(compiler, bundle, graph) for graph in bundle.manifest.graphs}
    assert cells.keys() == set(GRAPH_NAMES)
    for graph, cell in cells.items():
        assert cell.startswith("yes"), (graph, cell)
        assert cell.endswith("4 in place") == ("step" in graph or graph == "prefill"), cell
