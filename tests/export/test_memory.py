"""Memory of an export: the model once, and little more."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ancestral.bundles.bundle import Bundle
from ancestral.cli.present.parity_table import parity_tables
from ancestral.engine import Engine
from ancestral.errors import BundleError, InvalidInput
from ancestral.export import known_answers as answers_module
from ancestral.export.bundle import export_bundle
from ancestral.export.known_answers import known_answers
from ancestral.export.model_state import ready
from ancestral.export.recast import recast
from ancestral.export.weights import weights_file
from ancestral.train.models.graphs import GraphName
from tests.toys import make

_MEASURE = """
import json, sys
import torch
from ancestral.dataspec import DataSpec
from ancestral.engine.timing import memory_now, memory_peak
from ancestral.export.bundle import export_bundle
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig

def made(width, levels):
    torch.manual_seed(0)
    config = TransformerConfig(width=width, layers=12, heads=12, tied=True, start=None)
    return Transformer(config, DataSpec(name="text", event_shape=(1024,), levels=levels)).eval()

# A first export, so that the exporter's imports do not count as memory of the model.
export_bundle(made(24, 5), sys.argv[1] + "/small", graphs=("step",))
before = memory_now()
model = made(768, 50_257)
size = sum(p.numel() * p.element_size() for p in model.parameters())
own = sys.argv[2] == "own"
export_bundle(model, sys.argv[1] + "/large", graphs=("step",), own=own)
print(json.dumps({"size": size, "peak": memory_peak() - before}))
"""
FEW: tuple[GraphName, ...] = ("log_prob",)
STEPPED: tuple[GraphName, ...] = ("log_prob", "logits", "redraw", "step")
MOST = 2.2
"""Limit on the memory of an export with its model, in multiples of the model's size."""


def peak(tmp_path: Path, own: bool) -> float:
    """Export a model of GPT-2 small's shape in a child process; return its peak / model size."""
    words = [sys.executable, "-c", _MEASURE, str(tmp_path), "own" if own else "shared"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.strip().rpartition("\n")[2])
    assert found["size"] > 490e6
    return float(found["peak"] / found["size"])


def test_memory_is_shared() -> None:
    """An export uses the model's own memory, and writes from it."""
    model = make("llama")
    shared = ready(model, "float32", own=False)
    assert shared is not model
    for before, after in zip(model.parameters(), shared.parameters(), strict=True):
        assert before is not after
        assert before.data_ptr() == after.data_ptr()
    written = {np.frombuffer(part, np.uint8).ctypes.data for part in weights_file(shared).parts()}
    assert {parameter.data_ptr() for parameter in model.parameters()} <= written
    assert ready(model, "float32", own=True) is model


@pytest.mark.slow
@pytest.mark.parametrize("own", [True, False], ids=["own", "shared"])
def test_peak(tmp_path: Path, own: bool) -> None:
    """The peak has no room for a second copy of the weights, as bytes or in float64."""
    assert peak(tmp_path, own) <= MOST


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=pytest.mark.slow), "float16"])
def test_a_model_is_not_changed(tmp_path: Path, dtype: str) -> None:
    """An export keeps the model's numbers, its mode and its `requires_grad` (without `own`)."""
    model = make("startless").train()
    before = copy.deepcopy(model.state_dict())
    export_bundle(model, tmp_path / "bundle", graphs=FEW, dtype=dtype)
    assert model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert all(torch.equal(before[name], each) for name, each in model.state_dict().items())


@pytest.mark.slow
def test_a_model_that_the_export_owns(tmp_path: Path) -> None:
    """With `own` the bundle is the same, and the model has the rounded numbers afterwards."""
    model = make("startless")
    kept = export_bundle(model, tmp_path / "kept", graphs=FEW, dtype="float16")
    used = export_bundle(model, tmp_path / "used", graphs=FEW, dtype="float16", own=True)
    files = [Bundle.open(each).manifest.files for each in (kept, used)]
    assert files[0] == files[1]
    token = model.state_dict()["inputs.token.weight"]
    assert torch.equal(token, token.half().float())


def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat events as long and levels as many: known answers have only 4 positions."""
    monkeypatch.setattr(answers_module, "_FEWEST", 4)
    monkeypatch.setattr(answers_module, "_LOGITS", 1)


@pytest.mark.parametrize("toy", ["startless", pytest.param("llama", marks=pytest.mark.slow)])
def test_answers_of_the_first_positions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: str
) -> None:
    """Known answers of the first positions are exact, and every backend is compared with them."""
    short(monkeypatch)
    model = make(toy)
    path = export_bundle(model, tmp_path / "bundle", graphs=STEPPED)
    bundle = Bundle.open(path)
    answers = bundle.known_answers()
    n, t = answers["x"].shape
    assert t == 4 < model.data.length
    exact = copy.deepcopy(model).double().position_log_prob(torch.from_numpy(answers["x"]), None)
    assert np.allclose(answers["log_prob"], exact.detach().numpy(), rtol=1e-12, atol=1e-12)
    samples = answers["is_sample"].astype(bool)
    assert np.array_equal(answers["drawn"][samples], answers["x"][samples])
    for backend in ("torch", "onnxruntime"):
        engine = Engine.load(path, backend=backend, threads=1)
        report = engine.verify()
        assert report.passed, report.failures
        assert report.draws > n * t
        assert (report.positions, report.length) == (4, model.data.length)
        for part, events in ((report.sampled, samples), (report.noise, ~samples)):
            bits = -answers["log_prob"][events].sum() / (events.sum() * t * np.log(2))
            assert part.bits_per_dim == pytest.approx(bits, rel=1e-6)
        title = str(parity_tables([report])[0].title)
        assert f"the first 4 of {model.data.length}" in title
    # Planted fault: steps that are off only at the last of these positions.
    off = answers | {"log_prob": answers["log_prob"].copy()}
    off["log_prob"][0, 3] += 0.01
    monkeypatch.setattr(Bundle, "known_answers", lambda self: off)
    assert "log p along the steps" in " ".join(engine.compare().failures)


def test_whole_answers_of_whole_events() -> None:
    """Short events have known answers for all their positions."""
    model = make("llama")
    assert known_answers(model)["x"].shape[1] == model.data.length


def test_further_files(tmp_path: Path) -> None:
    """Further files are next to the manifest, are hashed, and are copied by `recast`."""
    files = {"merges.txt": b"a b\n", "LICENSE": b"free"}
    path = export_bundle(make("startless"), tmp_path / "bundle", graphs=FEW, files=files)
    halved = recast(path, tmp_path / "half", "float16")
    for bundle in (path, halved):
        assert {name: (bundle / name).read_bytes() for name in files} == files
        assert Bundle.open(bundle).manifest.files.keys() > files.keys()
    (path / "LICENSE").write_bytes(b"fees")
    with pytest.raises(BundleError, match=r"LICENSE: altered"):
        Bundle.open(path, rehash=True)


@pytest.mark.parametrize(
    "name",
    [
        "a/b",
        "../a",
        "/a",
        "a\\b",
        ".hidden",
        "",
        "..",
        "graphs",
        "MANIFEST.json",
        "prior",
        "x" * 300,
        "\x1b[2J",
    ],
)
def test_names_that_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match="files: expected file names without"):
        export_bundle(make("tiny"), tmp_path / "bundle", files={name: b""})
    assert list(tmp_path.iterdir()) == []
