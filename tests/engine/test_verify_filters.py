"""`verify` compares draws at temperatures and with filters: a changed setting or set is red."""

from collections.abc import Callable

import numpy as np
import pytest

from tests.conftest import Load


def test_passes(load: Load, backend: str) -> None:
    """More draws than those without settings; none unexplained."""
    engine = load("tiny", backend)
    report = engine.verify()
    assert report.passed, report.failures
    n, t = engine.bundle.known_answers()["x"].shape
    assert report.sampled.draws + report.noise.draws >= 3 * n * t


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("temperature", lambda old: old * np.float32(1.3)),
        ("top_p", lambda old: np.where(old < 1, old * np.float32(0.8), old)),
        ("top_k", np.ones_like),
        ("min_p", lambda old: np.where(old > 0, np.float32(0.6), old)),
    ],
)
def test_planted(
    load: Load,
    backend: str,
    name: str,
    change: Callable[[np.ndarray], np.ndarray],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A backend that gets another setting draws other values."""
    engine = load("tiny", backend)
    write = type(engine.session("step").bind({"b": 1, "s": 1})).write

    def wrong(self: object, each: str, array: np.ndarray, *rest: object) -> None:
        write(self, each, change(array) if each == name else array, *rest)

    monkeypatch.setattr(type(engine.session("step").bind({"b": 1, "s": 1})), "write", wrong)
    assert engine.verify().unexplained > 0
