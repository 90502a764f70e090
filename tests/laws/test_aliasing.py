"""Law: the loop that shares memory gives the results of a loop over new arrays; no cache is copied.

ONNX Runtime appends to a cache in place if input and output share memory; otherwise it copies, with
a warning in its log.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ancestral.engine import Engine
from ancestral.engine.backends import onnxruntime_session as backend
from ancestral.engine.session import Array
from tests.conftest import Load
from tests.tamper import change_manifest, copied

from .laws import assert_close, events, given, limits, start_values

B, STEPS = 4, 4


def start(engine: Engine) -> dict[str, Array]:
    """Return the initial tensors of both loops."""
    _, label = events(engine, B)
    observed = start_values(engine, B)
    first = engine.bundle.manifest.first_position
    return given(engine, B, label) | {
        "observed": observed,
        "values": np.maximum(observed, 0),
        "position": np.full(B, first),
    }


def plain_loop(engine: Engine) -> dict[str, Array]:
    """Return the carried tensors after some steps, each run by Session.run on new arrays."""
    session = engine.session("step")
    inputs = {
        spec.name: np.zeros(spec.shape({"b": B, "s": 1}), spec.dtype)
        for spec in session.signature.inputs
    } | start(engine)
    for _ in range(STEPS):
        outputs = session.run({name: array.copy() for name, array in inputs.items()})
        inputs |= {pair.input: outputs[pair.output] for pair in session.signature.carried}
    return {pair.input: inputs[pair.input] for pair in session.signature.carried}


def check_aliased(engine: Engine) -> None:
    """Check that the bound loop gives the carried tensors of the plain loop.

    Floats may differ in bits, which may depend on where a kernel's inputs are in memory.
    """
    binding = engine.session("step").bind({"b": B, "s": 1})
    for name, array in start(engine).items():
        binding.write(name, array)
    binding.run(STEPS)
    for name, expected in plain_loop(engine).items():
        got = binding.read(name)
        assert_close(got, expected, limits(engine).nats if got.dtype.kind == "f" else 0, name)


def test_aliased(engine: Engine) -> None:
    check_aliased(engine)


def test_infinities() -> None:
    """`assert_close` accepts -inf in both caches; opposite infinities and NaN differ."""
    one = np.array([1.0, -np.inf])
    assert_close(one, one.copy(), 0, "the same")
    for other in (-one, np.array([1.0, np.nan])):
        with pytest.raises(AssertionError, match=r"max inf is over 9, .* worst at \(1,\)"):
            assert_close(one, other, 9, "another")


def test_position_in_place(load: Load, monkeypatch: pytest.MonkeyPatch, toy: str) -> None:
    """Planted: every carried pair shares memory, so a node reads what another has overwritten."""
    monkeypatch.setattr(backend, "Update", type("Update", (), {"REPLACE": None}))
    with pytest.raises(AssertionError, match=r"max .* mean .* worst at"):
        check_aliased(load(toy, "onnxruntime"))


PROGRAM = """
import sys
import onnxruntime as ort

class Warned(ort.SessionOptions):
    def __setattr__(self, name, value):
        super().__setattr__(name, 2 if name == "log_severity_level" else value)

ort.SessionOptions = Warned
from ancestral.engine import Engine
engine = Engine.load(sys.argv[1], threads=1)
engine.sample(3, labels=None if engine.data.num_classes is None else 0)
"""
WARNING = "in-place optimization not activated"


def log_of(bundle: Path) -> str:
    """Return ONNX Runtime's warnings while a loop samples."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(bundle)], capture_output=True, text=True, check=True
    )
    return done.stderr


@pytest.mark.parametrize("toy", ["tiny", "wavenet", "pixelcnn"])
def test_no_cache_is_copied(bundles: Callable[[str], Path], toy: str) -> None:
    assert WARNING not in log_of(bundles(toy))


def test_copy_is_found(tiny_bundle: Path, tmp_path: Path) -> None:
    """Planted: the signature has every carried pair as replaced, so that each has two buffers."""

    def replace(manifest: dict[str, Any]) -> None:
        for pair in manifest["graphs"]["step"]["signature"]["carried"]:
            pair["update"] = "replace"

    copy = copied(tiny_bundle, tmp_path)
    change_manifest(copy, replace)
    assert WARNING in log_of(copy)
