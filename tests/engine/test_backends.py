"""A backend that cannot run is refused with a message that says what to do; none falls back."""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from ancestral import parity
from ancestral.engine import Engine
from ancestral.engine.backends import BACKENDS, onnxruntime, probe
from ancestral.engine.backends.entry import check_release
from ancestral.engine.draw_checks import check_values
from ancestral.errors import BackendUnavailable, BundleError, InvalidInput
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from tests.tamper import change_manifest, copied, edited, sign
from tests.toys import make


@pytest.mark.parametrize("name", BACKENDS)
def test_not_installed(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    find = importlib.util.find_spec
    hidden = {name, f"{name}_rtx"}
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda package, *rest: None if package in hidden else find(package),
    )
    with pytest.raises(BackendUnavailable, match=rf"needs the {name}.* package: pip inst") as error:
        Engine.load(tiny_bundle, backend=name)
    assert BACKENDS[name].install in str(error.value)
    assert isinstance(error.value, ImportError)


@pytest.mark.parametrize(
    ("version", "accepted"),
    [
        ("1.24.9", False),
        ("1.9.0", False),
        ("0.99", False),
        ("1.25.0", True),
        ("1.100.0", True),
        ("2.0.0", True),
        ("1.26.0.dev20260101", True),
    ],
)
def test_version(version: str, accepted: bool) -> None:
    oldest = onnxruntime._OLDEST
    if accepted:
        check_release("onnxruntime", oldest, version)
    else:
        with pytest.raises(
            BackendUnavailable, match=rf"needs onnxruntime 1\.25 or newer, got {version}: pip"
        ):
            check_release("onnxruntime", oldest, version)


def test_too_old_onnxruntime(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old onnxruntime is reported by `ancestral doctor`, and refused when it is opened."""
    assert probe("onnxruntime").devices[0] == "cpu"
    monkeypatch.setattr(onnxruntime.ort, "__version__", "1.9.0")
    devices, remark = probe("onnxruntime")
    assert devices == []
    assert "1.25 or newer, got 1.9.0" in remark
    with pytest.raises(BackendUnavailable, match=re.escape(remark)):
        Engine.load(tiny_bundle, backend="onnxruntime")


def test_table() -> None:
    """Each backend has its name as the key, a tolerance for float32, and an importable module."""
    for name, entry in BACKENDS.items():
        assert entry.name == name
        assert entry.computes_in("float32")
        assert parity.tolerance(name, "float32")
        assert importlib.util.find_spec(f"ancestral.engine.backends.{name}")
    assert not BACKENDS["onnxruntime"].computes_in("bfloat16")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "jax"}, r"expected one of \['torch', .*, 'tensorrt'\], got 'jax'"),
        ({"backend": "torch", "device": "tpu"}, "device: expected cpu, cuda or cuda:N, got 'tpu'"),
        ({"backend": "onnxruntime", "device": "tpu"}, "device: expected cpu, cuda or cuda:N"),
        ({"threads": 0}, r"threads: expected an integer in 1 \.\. \d+, got 0"),
        (
            {"backend": "onnxruntime", "model": object()},
            "model: backend 'onnxruntime' takes no options; leave the option out, or use backend "
            "'torch' or 'triton'$",
        ),
        ({"backend": "tensorrt", "model": object()}, "model: backend 'tensorrt' takes no options"),
        ({"batch_invariant": True}, "takes no options; leave the option out, or use .* 'triton'$"),
        ({"batch_invariant": 0}, "takes no options; leave the option out, or use .* 'triton'$"),
        ({"backend": "torch", "dtype": "bfloat16"}, "takes only model; .* use backend 'triton'$"),
        ({"dtype": ["float32"]}, "dtype: backend 'onnxruntime' takes no options"),
        ({"backend": "triton", "seed": 3}, "only model, dtype, batch_invariant; leave the .* out$"),
        ({"backend": "triton", "dtype": "float64"}, r"backend 'triton', dtype: .* got 'float64'$"),
    ],
)
def test_refused(tiny_bundle: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        Engine.load(tiny_bundle, **arguments)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize("dtype", [None, "float32"])
def test_options_that_change_nothing(tiny_bundle: Path, backend: str, dtype: str | None) -> None:
    """An option of another backend is accepted if its value is what this backend does anyway."""
    engine = Engine.load(
        tiny_bundle, backend=backend, dtype=dtype, batch_invariant=False, model=None
    )
    assert engine.backend.dtype == "float32"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("name", BACKENDS)
def test_no_gpu(tiny_bundle: Path, name: str) -> None:
    with pytest.raises(BackendUnavailable, match="device 'cuda'"):
        Engine.load(tiny_bundle, backend=name, device="cuda")


def test_triton_on_the_cpu(tiny_bundle: Path) -> None:
    """Kernels are interpreted only if the environment said so before Python started."""
    pytest.importorskip("triton")
    with pytest.raises(BackendUnavailable, match=r"runs on a CUDA GPU; pass device 'cuda' \("):
        Engine.load(tiny_bundle, backend="triton")


def test_triton_too_old(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    triton = pytest.importorskip("triton")
    monkeypatch.setattr(triton, "__version__", "3.5.1")
    with pytest.raises(BackendUnavailable, match=r"needs triton 3\.6 or newer, got 3\.5\.1: pip"):
        Engine.load(tiny_bundle, backend="triton", device="cuda")


def test_model_of_other_events(tiny_bundle: Path) -> None:
    with pytest.raises(InvalidInput, match=r"model: expected .*name='tiny'.* got name='llama'"):
        Engine.load(tiny_bundle, backend="torch", model=make("llama"))


def test_model_of_another_shape(tiny_bundle: Path) -> None:
    other = Transformer(TransformerConfig(width=8, layers=1, heads=1), make("tiny").data)
    with pytest.raises(InvalidInput, match="model: expected config"):
        Engine.load(tiny_bundle, backend="torch", model=other)


def test_unknown_family(tiny_bundle: Path, tmp_path: Path) -> None:
    """A user's own family needs its class on torch, and nothing on onnxruntime."""
    copy = copied(tiny_bundle, tmp_path)
    change_manifest(copy, lambda m: m["components"]["model"].update(family="mine"))
    with pytest.raises(BundleError, match=r"no model family 'mine'; pass the model"):
        Engine.load(copy, backend="torch")
    mine = Engine.load(copy, backend="torch", threads=1, model=make("tiny"))
    mine.sample(1, labels=0)
    Engine.load(copy, backend="onnxruntime", threads=1).sample(1, labels=0)


def test_graph_that_onnxruntime_refuses(tiny_bundle: Path, tmp_path: Path) -> None:
    def unknown(graph: object) -> None:
        graph.node[0].op_type = "NoSuchOperator"

    engine = Engine.load(edited(tiny_bundle, tmp_path, unknown, "log_prob"), backend="onnxruntime")
    with pytest.raises(BundleError, match=r"log_prob\.onnx: ONNX Runtime refuses it"):
        engine.session("log_prob")


def test_graph_unlike_its_signature(tiny_bundle: Path, tmp_path: Path) -> None:
    copy = copied(tiny_bundle, tmp_path)
    change_manifest(
        copy, lambda m: m["graphs"]["log_prob"]["signature"]["inputs"][0].update(name="y")
    )
    with pytest.raises(BundleError, match=r"graph log_prob: expected input x, int64 \['b', 't'\]"):
        Engine.load(copy, backend="onnxruntime")


def test_name_that_is_not_utf8(
    tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """ONNX Runtime's undecodable message becomes a BundleError, and nothing is printed."""
    copy = copied(tiny_bundle, tmp_path)
    file = copy / "graphs" / "log_prob.onnx"
    name = onnx.load(file, load_external_data=False).graph.node[0].op_type.encode()
    file.write_bytes(file.read_bytes().replace(name, b"\xff" * len(name)))
    sign(copy)
    with pytest.raises(BundleError, match=r"log_prob\.onnx: ONNX Runtime refuses it"):
        Engine.load(copy, backend="onnxruntime").session("log_prob")
    assert capfd.readouterr() == ("", "")


def reshaped(graph: onnx.GraphProto) -> None:
    """Give the first output another shape than its signature has."""
    output, shape = graph.output[0], "one_more_axis"
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, -1]), shape))
    for node in graph.node:
        node.output[:] = [f"{name}_" if name == output.name else name for name in node.output]
    graph.node.append(onnx.helper.make_node("Reshape", [f"{output.name}_", shape], [output.name]))


def unbounded(graph: onnx.GraphProto) -> None:
    """Let the nodes before the first output need more memory than any machine has."""
    output = graph.output[0].name
    for node in graph.node:
        node.output[:] = [f"{name}_" if name == output else name for name in node.output]
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([2**42]), "large"))
    made = onnx.helper.make_node
    graph.node.append(made("ReduceMax", [f"{output}_"], ["kept"], keepdims=0))
    graph.node.append(made("Expand", ["kept", "large"], ["wide"]))
    graph.node.append(made("ReduceMax", ["wide"], ["most"], keepdims=0))
    graph.node.append(made("Max", [f"{output}_", "most"], [output]))


@pytest.mark.parametrize("graph", ["log_prob", "step"])
@pytest.mark.parametrize(
    ("edit", "error"),
    [(reshaped, BundleError), (unbounded, InvalidInput)],
    ids=["another shape", "no memory"],
)
def test_graph_that_fails_when_it_runs(
    tiny_bundle: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    graph: str,
    edit: Callable[[onnx.GraphProto], None],
    error: type[Exception],
) -> None:
    """ONNX Runtime's exception becomes one of ours, in one line, with the graph's file.

    ONNX Runtime itself prints nothing, as names of nodes could hold control characters.
    """
    copy = edited(tiny_bundle, tmp_path, edit, f"{graph}*")
    engine = Engine.load(copy, backend="onnxruntime", threads=1)
    x = np.zeros((2, 3, 3), np.int64)
    with pytest.raises(error, match=rf"{graph}(\.onnxruntime)?\.onnx: ") as caught:
        engine.log_prob(x, 0) if graph == "log_prob" else engine.sample(2, 0)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_draws_beyond_the_levels(bundles: Callable[..., Path], tmp_path: Path) -> None:
    """Draws beyond the levels are refused, as draws index palettes and tokenizers."""

    def shifted(graph: onnx.GraphProto) -> None:
        for node in graph.node:
            node.output[:] = ["drawn" if name == "x" else name for name in node.output]
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(5), "five"))
        graph.node.append(onnx.helper.make_node("Add", ["drawn", "five"], ["x"]))

    copy = edited(bundles("bernoulli"), tmp_path, shifted, "draw*")
    with pytest.raises(BundleError, match=r"expected drawn values in 0 \.\. 1, got [56]"):
        Engine.load(copy, backend="onnxruntime", threads=1).sample(2)
    with pytest.raises(BundleError, match=r"expected drawn values in 0 \.\. 2, got 3"):
        check_values(np.array([[0, 2], [3, 1]]), 3)
