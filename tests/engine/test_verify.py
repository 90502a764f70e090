"""`verify` passes correct bundles on every backend, and no bundle with a planted fault."""

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from ancestral.engine import Engine, comparison, verify
from ancestral.engine.comparison import Draws
from ancestral.parity import ParityReport
from tests.laws.faults import faulty_model
from tests.tamper import copied, edited, set_attribute, sign
from tests.toys import make

NEAR = 1e-6


def test_passes(engine: Engine) -> None:
    report = engine.verify()
    assert report.passed, report.failures
    assert report.unexplained == 0
    own = report.sampled.own_nats, report.noise.own_nats
    assert min(own) > 0, "the error of float32 is 0, so it was not measured"
    free = engine.data.length - engine.bundle.manifest.first_position
    assert report.draws >= report.events * free
    for part in (report.sampled, report.noise):
        assert part.max_abs_nats <= part.limit_nats < 1e-4 * engine.data.length


def failed(bundle: Path, backend: str = "onnxruntime") -> ParityReport:
    report = Engine.load(bundle, backend=backend, threads=1).verify()
    assert not report.passed, f"passed with {report}"
    return report


@pytest.fixture(scope="module")
def small(bundles: Callable[[str], Path]) -> Path:
    return bundles("startless")


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_weight_changed(small: Path, tmp_path: Path, backend: str) -> None:
    """A change of 0.1% in one number of one weight is found; the hashes are valid."""
    copy = copied(small, tmp_path)
    file = copy / "graphs" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    at = 8 + size + header["blocks.0.qkv.weight"]["data_offsets"][0]
    (value,) = struct.unpack_from("<f", data, at)
    struct.pack_into("<f", data, at, value * 1.001)
    file.write_bytes(data)
    sign(copy)
    report = failed(copy, backend)
    assert report.max_abs_nats > report.limit_nats


def later_positions(graph: onnx.GraphProto) -> None:
    """Let every causal attention see all keys."""
    set_attribute("Attention", "is_causal", 0)(graph)


@pytest.mark.parametrize(
    ("graphs", "edit", "check"),
    [
        ("log_prob", set_attribute("LayerNormalization", "epsilon", 1e-3), "log p"),
        ("log_prob", set_attribute("Gelu", "approximate", "none"), "log p"),
        ("logits", set_attribute("Gelu", "approximate", "none"), "KL"),
        ("logits", later_positions, "argmax flips"),
        ("redraw", later_positions, "unexplained draws"),
        (
            "step.onnxruntime",
            set_attribute("LayerNormalization", "epsilon", 1e-3),
            "log p along the steps",
        ),
        (
            "step.onnxruntime",
            set_attribute("GroupQueryAttention", "scale", 0.3),
            "log p along the steps",
        ),
        (
            "step.onnxruntime",
            set_attribute("GroupQueryAttention", "local_window_size", 1),
            "unexplained draws",
        ),
    ],
    ids=["epsilon", "gelu", "gelu in logits", "mask in logits", "mask in redraw", "epsilon in step",
         "scale in step", "window in step"],
)  # fmt: skip
def test_graph_changed(
    small: Path, tmp_path: Path, graphs: str, edit: Callable, check: str
) -> None:
    report = failed(edited(small, tmp_path, edit, graphs))
    assert any(f": {check}:" in failure for failure in report.failures), report.failures


@pytest.mark.parametrize("fault", ["mask shifted", "shift missing", "scale wrong", "window"])
def test_model_changed(small: Path, fault: str) -> None:
    model = faulty_model(fault, "startless")
    engine = Engine.load(small, backend="torch", threads=1, model=model)
    assert not engine.verify().passed


def test_near_ties() -> None:
    """A value that differs is a near tie within the limit, and unexplained beyond it."""
    got, expected = np.array([[0, 1, 2, 1]]), np.array([[0, 2, 1, 1]])
    margin = np.array([[1e-9, 9e-7, 1.1e-6, 0.5]])
    draws = Draws.of(got, expected, margin, NEAR)
    assert (draws.draws, draws.near_ties, draws.unexplained) == (4, 1, 1)
    unknown = Draws.of(got, expected, np.full((1, 4), np.nan), NEAR)
    assert unknown.unexplained == 2, "a margin of NaN explained a difference"


def test_followed_to_the_first_difference() -> None:
    got = np.array([[0, 1, 2, 2], [1, 1, 1, 1]])
    expected = np.array([[0, 2, 0, 0], [1, 1, 1, 1]])
    margin = np.array([[0.5, 1e-7, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]])
    draws = comparison.follow(got, expected, margin, NEAR)
    assert (draws.draws, draws.near_ties, draws.unexplained) == (6, 1, 0)


def test_kl_divergence() -> None:
    """The KL divergence is exact for two values, 0 for equal ones, and keeps infinities and NaN."""
    p, q = np.array([0.3, 0.7]), np.array([0.4, 0.6])
    exact = (p * np.log(p / q)).sum()
    assert abs(verify.kl_divergence(np.log(p), np.log(q)) - exact) < 1e-15
    assert verify.kl_divergence(np.log(p), np.log(p)) == 0
    assert verify.kl_divergence(np.array([-np.inf, 0.0]), np.log(q)) > 0.4
    assert np.isnan(verify.kl_divergence(np.log(p), np.array([np.nan, 0.0])))


def test_nan_fails(small: Path) -> None:
    """A backend that returns NaN fails the checks of log p and of the KL divergence."""
    model = make("startless")
    predict = model.predict
    model.predict = lambda x, label: predict(x, label) * float("nan")
    report = Engine.load(small, backend="torch", threads=1, model=model).verify()
    failures = " ".join(report.failures)
    assert "log p" in failures
    assert "KL" in failures
