"""A 16-bit bundle is the same exported or recast, and its known answers are of its weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir
import pytest
import torch
from safetensors import safe_open

from ancestral.bundles.bundle import Bundle
from ancestral.cli.main import run
from ancestral.errors import BundleError, InvalidInput
from ancestral.export import recast as module
from ancestral.export.bundle import export_bundle
from ancestral.export.passes.tied_embedding import multiply_as_exported, multiply_in_place
from ancestral.export.recast import recast
from ancestral.export.weights import to_bytes
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.graphs import GraphName
from ancestral.train.stored_model import bundled_model
from tests.tamper import change_manifest, copied
from tests.toys import make

Bundles = Callable[..., Path]
DTYPES = ("float16", "bfloat16")


@pytest.mark.parametrize(
    ("toy", "graph"), [("lstm", "logits"), pytest.param("pixelcnn", "step", marks=pytest.mark.slow)]
)
def test_recast_is_export(bundles: Bundles, tmp_path: Path, toy: str, graph: GraphName) -> None:
    """Export and recast give the same bytes, also of weights that the exporter rearranged."""
    exported = export_bundle(make(toy), tmp_path / "out", graphs=(graph,), dtype="bfloat16")
    other = bundles(toy, "bfloat16")
    names = (f"graphs/{graph}.onnx", "graphs/weights.safetensors", "known_answers.safetensors")
    for name in names:
        assert (exported / name).read_bytes() == (other / name).read_bytes(), name
    manifest = Bundle.open(exported).manifest
    assert manifest.graphs[graph] == Bundle.open(other).manifest.graphs[graph]
    assert manifest.dtype == "bfloat16"


KEPT = {"llama": {"cosine", "sine"}, "codes": {"codebook", "counts", "sums", "head.shift"}}
"""Weights that stay in float32."""
FLOAT64 = 1e-12
"""Limit on the difference of two float64 computations of the same numbers."""


@pytest.mark.parametrize("toy", KEPT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_known_answers(bundles: Bundles, toy: str, dtype: str) -> None:
    """Known answers are those of float64 PyTorch with the numbers in the file."""
    bundle = Bundle.open(bundles(toy, dtype))
    with safe_open(bundle.weights_file, "pt") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118
    assert {name for name, kind in kinds.items() if kind == "F32"} == KEPT[toy]
    assert answered_exactly(bundle)


def answered_exactly(bundle: Bundle) -> bool:
    answers = bundle.known_answers()
    model = bundled_model(bundle).double()
    with torch.no_grad():
        if isinstance(model, AutoregressiveModel):
            found = model.position_log_prob(torch.from_numpy(answers["x"]), None)
            return bool(np.abs(found.numpy() - answers["log_prob"]).max() < FLOAT64)
        found = model.decode(torch.from_numpy(answers["z"]))[: len(answers["parameters"])]
        return bool(np.abs(found.numpy() - answers["parameters"]).max() < FLOAT64)


def test_answers_of_other_weights(
    bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planted fault: the model is not rounded before it computes the known answers."""
    monkeypatch.setattr(module, "round_in_place", lambda model, dtype: model)
    assert not answered_exactly(Bundle.open(recast(bundles("llama"), tmp_path / "a", "float16")))


def test_overflow(tmp_path: Path) -> None:
    """A weight that float16 cannot hold is named; nothing is left behind."""
    model = make("table")
    model.table.data[3, 1] = -1e5
    with pytest.raises(InvalidInput, match=r"table: expected numbers up to 65504 .* got 100000"):
        export_bundle(model, tmp_path / "out", dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_an_infinite_weight_stays(tmp_path: Path) -> None:
    """A weight of minus infinity is kept: a table may give a value probability 0."""
    model = make("table")
    model.table.data[:, 1] = -torch.inf
    bundle = export_bundle(model, tmp_path / "out", graphs=("log_prob",), dtype="float16")
    assert np.isneginf(Bundle.open(bundle).known_answers()["distribution"]).any()


REFUSED = {
    "16 bits already": ("float16", "bfloat16", "expected a float32 bundle, got float16"),
    "float32": ("float32", "float32", "expected float16 or bfloat16 for a bundle"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(bundles: Bundles, tmp_path: Path, case: str) -> None:
    stored, dtype, message = REFUSED[case]
    with pytest.raises(InvalidInput, match=message):
        recast(bundles("table", stored), tmp_path / "out", dtype)
    assert list(tmp_path.iterdir()) == []


def test_foreign_folders(bundles: Bundles, tmp_path: Path) -> None:
    """A folder without a bundle, an existing target and a user's own model are refused."""
    with pytest.raises(BundleError, match="no file manifest"):
        recast(tmp_path, tmp_path / "out", "float16")
    own = copied(bundles("table"), tmp_path)
    with pytest.raises(InvalidInput, match="the bundle exists"):
        recast(bundles("table"), own, "float16")
    change_manifest(own, lambda manifest: manifest["components"]["model"].update(family="Mine"))
    with pytest.raises(InvalidInput, match="got 'Mine', a model of your own class"):
        recast(own, tmp_path / "out", "float16")


def test_on_the_command_line(
    bundles: Bundles, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = str(bundles("table"))
    out = str(tmp_path / "out")
    assert run(["export", source, "--dtype", "bfloat16", "-o", out]) == 0
    shown = capsys.readouterr()
    assert "exported in bfloat16" in shown.err
    assert "torch cpu bfloat16" in shown.out
    assert "onnxruntime" not in shown.out, "it cannot run that type, and is not run"
    assert run(["info", out]) == 0
    assert "autoregressive, bfloat16, format 1" in capsys.readouterr().out
    assert run(["export", source, "--size", "8", "--dtype", "float16", "-o", out]) != 0
    assert "--size: only used with a checkpoint" in capsys.readouterr().err
    assert run(["verify", out, "--backend", "onnxruntime"]) != 0
    assert "expected a bundle of float32 or float16" in capsys.readouterr().err


def test_tied_tables(bundles: Bundles) -> None:
    """The change for a large tied table in ONNX Runtime's form is undone before a cast."""
    path = bundles("llama") / "graphs" / "step.onnxruntime.onnx"
    model = onnx_ir.load(path)
    before = [node.op_type for node in model.graph]
    multiply_in_place(model.graph, least=1)
    assert [node.op_type for node in model.graph] != before
    multiply_as_exported(model)
    assert [node.op_type for node in model.graph] == before
    assert "table" not in [value.name for value in model.graph.inputs]
    assert b"then_branch" not in to_bytes(model)
