"""Law: a bundle has the log-probabilities of the exported model, and a changed byte is refused."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ancestral.bundles.bundle import Bundle
from ancestral.engine import Engine
from ancestral.errors import BundleError
from ancestral.train.models.transformer import Transformer
from tests.tamper import copied
from tests.toys import make

from .laws import assert_close, events, limits, position_log_prob


def check_round_trip(engine: Engine, model: Transformer) -> None:
    """Check that log p of the bundle is the model's, within the limit.

    Even torch, which runs the same program, need not give the same bits: the bits of a product may
    depend on where its factors are in memory, and a bundle's weights are in a file.
    """
    x, label = events(engine, 8)
    with torch.no_grad():
        y = None if label is None else torch.from_numpy(label)
        expected = model.position_log_prob(torch.from_numpy(x), y).numpy()
    got = position_log_prob(engine, x, label)
    assert_close(got, expected, limits(engine).nats, "log p of the bundle")


def test_round_trip(engine: Engine, toy: str) -> None:
    check_round_trip(engine, make(toy))


def test_planted(engine: Engine, toy: str) -> None:
    """Planted: one weight of the model is 0.1% larger than in the bundle."""
    model = make(toy)
    with torch.no_grad():
        max(model.parameters(), key=lambda weight: weight.numel()).mul_(1.001)
    with pytest.raises(AssertionError, match="log p of the bundle: max"):
        check_round_trip(engine, model)


def test_known_answers_are_float64(bundles: Callable[[str], Path], toy: str) -> None:
    """The known answers are the float64 model's, and samples among them are fixed points."""
    answers = Bundle.open(bundles(toy)).known_answers()
    x = torch.from_numpy(answers["x"])
    label = torch.from_numpy(answers["label"]) if "label" in answers else None
    double = make(toy).double()
    with torch.no_grad():
        exact = double.position_log_prob(x, label).numpy()
    # Two float64 computations of a sum differ by a few units in the last place.
    assert_close(answers["log_prob"], exact, 1e-12, "known log p")
    assert answers["is_sample"].sum() >= len(x) // 2 - 1
    same = answers["drawn"][answers["is_sample"]] == answers["x"][answers["is_sample"]]
    assert same.all()
    assert (answers["margin"] >= 0).all()
    np.testing.assert_allclose(np.exp(answers["distribution"]).sum(-1), 1, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def spoilt(bundles: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copied(bundles("startless"), tmp_path_factory.mktemp("spoilt"))


@given(st.data())
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_changed_byte(spoilt: Path, data: st.DataObject) -> None:
    """A change of any byte of any file to any other value is refused."""
    names = sorted(Bundle.open(spoilt).manifest.files)
    file = spoilt / data.draw(st.sampled_from(names))
    whole = file.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    other = data.draw(st.integers(1, 255))
    file.write_bytes(whole[:at] + bytes([whole[at] ^ other]) + whole[at + 1 :])
    try:
        with pytest.raises(BundleError, match="altered"):
            Bundle.open(spoilt)
    finally:
        file.write_bytes(whole)
