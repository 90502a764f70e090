"""`export --weights`: the options, what they refuse, and what `info` and the server show."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open

from ancestral.bundles.bundle import Bundle
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.files.atomic import sha256
from ancestral.plans.key import PlanKey
from ancestral.serve.settings import Settings
from ancestral.train.checkpoint import save_checkpoint
from ancestral.train.models.families import build_model
from ancestral.train.models.transformer_config import TransformerConfig
from tests.serve.conftest import Running

from .conftest import Bundles, Cli, Result, invoke, refused

TEXT = "the cat sat on the mat and the dog sat on the log; one two three\n" * 4
Made = tuple[Path, Path, Result]
"""A quantised bundle, the data on which it was measured, and the result of the command."""


@pytest.fixture(scope="module")
def made(bundles: Bundles, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Quantise a toy for text from its bundle, with data."""
    folder = tmp_path_factory.mktemp("quantised")
    data, out = folder / "some.txt", folder / "out"
    data.write_text(TEXT)
    arguments = ["export", bundles("text"), "-o", out, "--weights", "int4", "--scales", "float16"]
    result = invoke(*arguments, "--asymmetric", "--data", data, "-n", 4)
    return out, data, result


def test_export(made: Made, bundles: Bundles) -> None:
    """The bundle is verified and measured, and the table is on standard output."""
    out, data, result = made
    assert result.code == 0, result.err
    assert "exported in float32, weights in int4" in result.err
    assert "nats/position" in result.out
    manifest = Bundle.open(out).manifest
    assert manifest.quantisation is not None
    assert manifest.cost is not None
    assert (manifest.cost.data, manifest.cost.data_sha256) == ("some.txt", sha256(data))
    assert manifest.cost.source_sha256 == Bundle.open(bundles("text")).manifest.sha256
    assert (manifest.cost.unit, manifest.cost.events) == ("windows", 4)
    assert manifest.cost.loss_nats != 0
    groups = {each.group for each in manifest.quantisation.tensors.values()}
    assert (manifest.quantisation.scales, groups) == ("float16", {32})


def test_info(made: Made, cli: Cli) -> None:
    """`info` shows what is quantised, what is not and why, and the cost."""
    out, *_ = made
    found = json.loads(cli("info", out, "--json").out)
    assert found["format_version"] == 2
    tensors = found["quantisation"]["tensors"]
    assert tensors["inputs.token.weight"] == {"bits": 4, "group": 32, "symmetric": True}
    assert tensors["head.weight"] == {"bits": 4, "group": 32, "symmetric": False}
    assert set(found["quantisation"]["kept"].values()) == {"fewer than 4,096 numbers"}
    assert found["cost"]["data"] == "some.txt"
    shown = cli("info", out).out
    assert "2 in int4, groups of 32; float16 scales; activations float32" in shown
    assert f"{len(found['quantisation']['kept'])} weights: fewer than 4,096 numbers" in shown
    assert f"{found['cost']['loss_nats']:+.3e}" in shown


def test_info_without_cost(cli: Cli, bundles: Bundles, tmp_path: Path) -> None:
    """A bundle in float32 has neither field in its text, and null in its JSON."""
    shown = cli("info", bundles("text")).out
    assert "in int" not in shown
    assert "nats/position" not in shown
    found = json.loads(cli("info", bundles("text"), "--json").out)
    assert (found["quantisation"], found["cost"], found["format_version"]) == (None, None, 1)


def test_server(made: Made) -> None:
    """The server's description of its bundles has the weights and the cost."""
    out, *_ = made
    with Running([out], Settings()) as running:
        answer = running.http.get("/v1/ancestral/info")
        (found,) = answer.json()["bundles"]
    assert found["quantisation"]["tensors"]["head.weight"]["bits"] == 4
    rows = dict(found["cost"])
    assert rows["data"].startswith("some.txt, SHA-256")
    assert "nats/position" in rows["loss of log p"]
    assert str(out.parent) not in answer.text


def test_tensorrt(made: Made) -> None:
    """TensorRT is refused with the reason, where plans are compiled and where they are found."""
    bundle = Bundle.open(made[0])
    words = "because TensorRT has no unsigned 8-bit type for their codes, got int4; use the bundle"
    with pytest.raises(InvalidInput, match=words):
        PlanKey.of_graph(bundle, "step", module="tensorrt_rtx", version="1", targets=("sm_90",))


@pytest.mark.tensorrt
@pytest.mark.skipif(find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed")
def test_compile(made: Made, cli: Cli) -> None:
    result = cli("compile", made[0], "--graph", "step")
    refused(result, "TensorRT has no unsigned 8-bit type", "run this one on backend 'onnxruntime'")


WEIGHTS = ("--weights", "int8")
CASES: dict[str, tuple[tuple[object, ...], str]] = {
    "group": ((*WEIGHTS, "--group", 24), "--group: expected one of [16, 32, 64, 128, 256], got 24"),
    "group without": (("--group", 32), "--group: only used with --weights"),
    "asymmetric without": (("--asymmetric",), "--asymmetric: only used with --weights"),
    "compute without": (("--compute", "int8"), "--compute: only used with --weights"),
    "scales without": (("--scales", "float16"), "--scales: only used with --weights"),
    "data without": (("--data", "x.npz"), "--data: only used with --weights"),
    "n without": (("-n", 4), "-n: only used with --weights"),
    "n without data": ((*WEIGHTS, "-n", 4), "-n: only used with --data"),
    "dtype": ((*WEIGHTS, "--dtype", "float16"), "--dtype: expected float32 with --weights int8"),
    "another type": (("--weights", "int3"), "'int3' is not one of"),
    "another compute": ((*WEIGHTS, "--compute", "int4"), "'int4' is not one of"),
    "missing data": ((*WEIGHTS, "--data", "none.npz"), "none.npz: no such file"),
    "a length": ((*WEIGHTS, "--length", 4), "--length: only used with a checkpoint"),
}
"""Options that are refused, and the words of the message."""


@pytest.mark.parametrize("case", CASES)
def test_refused(
    case: str, cli: Cli, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    options, words = CASES[case]
    refused(cli("export", bundles("text"), "-o", tmp_path / "out", *options), words)
    assert list(tmp_path.iterdir()) == []


def test_data_that_do_not_fit(
    cli: Cli, bundles: Bundles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data of another shape, or too few, are refused before anything is exported."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("the export began")

    monkeypatch.setattr("ancestral.export.quantise.quantise_bundle", never)
    file, text = tmp_path / "data.npz", tmp_path / "one.txt"
    np.savez(file, x=np.zeros((4, 5, 5), np.int64))
    command = ("export", bundles("text"), "-o", tmp_path / "out", *WEIGHTS, "--data")
    refused(cli(*command, file), "--data: expected events [n, 24]", "got shape (2, 5, 5)")
    text.write_text(TEXT)
    refused(cli(*command, text, "-n", 10**6), "-n: expected 2 .. ", "got 1000000")


def test_twice(made: Made, cli: Cli, tmp_path: Path) -> None:
    """A quantised bundle is neither quantised again nor converted to 16 bits."""
    out, *_ = made
    for options in (WEIGHTS, ("--dtype", "float16")):
        result = cli("export", out, "-o", tmp_path / "out", *options)
        refused(result, "expected a float32 bundle, got one with weights in int4; use the float32")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_from_a_checkpoint(cli: Cli, tmp_path: Path) -> None:
    """A checkpoint's folder is exported in float32 first, and only the quantised bundle is left."""
    data = DataSpec(name="toy", event_shape=(4,), levels=70)
    model = build_model(TransformerConfig(width=64, layers=1, heads=2), data)
    save_checkpoint(tmp_path / "run", model)
    out = tmp_path / "out"
    result = cli("export", tmp_path / "run", "-o", out, *WEIGHTS, "--compute", "int8")
    assert result.code == 0, result.err
    assert "exporting in float32 first" in result.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["out", "run"]
    plan = Bundle.open(out).manifest.quantisation
    assert plan is not None
    assert (plan.compute, plan.weights) == ("int8", "int8")
    assert {each.group for each in plan.tensors.values()} == {128}
    with safe_open(Bundle.open(out).weights_file, "np") as file:
        assert "blocks.0.up.weight_codes" in file.keys()  # noqa: SIM118
    assert "not measured; run `ancestral compare`" in cli("info", out).out
