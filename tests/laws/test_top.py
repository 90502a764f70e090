"""Laws of the most probable values: they are the first of the sorted distribution."""

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from torch import Tensor

from ancestral.engine import AutoregressiveEngine, Engine, EventLikelihood
from ancestral.engine.session import Array
from ancestral.step_tensors import TOP, most_of
from ancestral.train.models import graphs
from tests.conftest import Load, autoregressive, device_of
from tests.tamper import edited, set_attribute

from .laws import assert_close, events, limits

N = 12


def found(engine: AutoregressiveEngine, k: int) -> tuple[EventLikelihood, Array, Array]:
    """The k most probable values of random events, log p of all values in float64, and x [n, t].

    Positions that have no probability are left out.
    """
    x, label = events(engine, N)
    got = engine.log_prob(engine.data.in_place(x), label, top=k)
    logits = engine.parallel("logits", label, x=x)["logits"].astype(np.float64)
    shifted = logits - logits.max(axis=-1, keepdims=True)
    every = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return got, every[:, engine.first_position :], x


def check_sorted(engine: AutoregressiveEngine, k: int) -> None:
    got, every, x = found(engine, k)
    first, limit = engine.first_position, limits(engine).nats
    ids, nats = got.top.ids[:, first:], got.top.log_prob[:, first:]
    assert ids.shape == (*every.shape[:2], k)
    assert (np.diff(np.sort(ids, axis=-1)) > 0).all(), "different values"
    assert_close(nats, -np.sort(-every, axis=-1)[..., :k], limit, "log p of the sorted values")
    own = np.take_along_axis(every, ids, axis=-1)
    assert_close(nats, own, limit, "log p of the ids")
    assert np.array_equal(got.top.most_likely[:, first:], ids[..., 0] == x[:, first:])


def check_given(engine: AutoregressiveEngine) -> None:
    """With every value among the top, one of them is the given one, and the mass is 1."""
    levels, first = engine.data.levels, engine.first_position
    got, _, x = found(engine, levels)
    nats = got.top.log_prob[:, first:].astype(np.float64)
    assert_close(np.exp(nats).sum(axis=-1), np.ones(nats.shape[:2]), limits(engine).nats, "mass")
    given = got.top.ids[:, first:] == x[:, first:, None]
    assert (given.sum(axis=-1) == 1).all()
    entry = np.where(given, got.top.log_prob[:, first:], 0).sum(axis=-1)
    assert_close(got.log_prob[:, first:], entry, limits(engine).nats, "log p of the given value")


def test_sorted(engine: Engine) -> None:
    assert isinstance(engine, AutoregressiveEngine)
    for k in (1, engine.data.levels):
        check_sorted(engine, k)


def test_given(engine: Engine) -> None:
    assert isinstance(engine, AutoregressiveEngine)
    check_given(engine)


def test_calls(load: Load) -> None:
    """Events that do not fit in one call of the graph keep their labels and places."""
    engine = autoregressive(load, "tiny", "onnxruntime")
    with patch.object(type(engine), "rows_of_call", return_value=5):
        check_sorted(engine, 2)
        check_given(engine)


def test_startless(load: Load) -> None:
    """A position without a probability has no values."""
    engine = autoregressive(load, "startless", "onnxruntime")
    got, _, _ = found(engine, 2)
    assert (got.top.ids[:, 0] == -1).all()
    assert not got.top.log_prob[:, 0].any()
    assert not got.top.most_likely[:, 0].any()


def least(z: Tensor, k: int) -> Tensor:
    return z.topk(k, largest=False).indices


def warm(z: Tensor, k: int) -> Tensor:
    """The planted fault: of two values that are not equal, the less probable first."""
    return z.topk(k).indices.roll(1, dims=-1)


@pytest.mark.parametrize("fault", [least, warm])
def test_planted_in_torch(bundles: Callable[[str], Path], fault: Callable) -> None:
    engine = AutoregressiveEngine.load(bundles("tiny"), backend="torch", device=device_of("torch"))
    with patch.object(graphs, "top_ids", fault), pytest.raises(AssertionError, match="log p of th"):
        check_sorted(engine, 2)
    report = engine.compare()
    assert report.passed
    with patch.object(graphs, "top_ids", fault):
        assert any("most probable values" in each for each in engine.compare().failures)


def test_planted(bundles: Callable[[str], Path], tmp_path: Path) -> None:
    bundle = edited(bundles("tiny"), tmp_path, set_attribute("TopK", "largest", 0), "top*")
    engine = AutoregressiveEngine.load(bundle, threads=1)
    with pytest.raises(AssertionError, match="log p of the sorted values: max"):
        check_sorted(engine, 2)
    assert any("most probable values" in each for each in engine.compare().failures)


def test_scale_planted(bundles: Callable[[str], Path], tmp_path: Path) -> None:
    """Another normaliser: the mass is not 1, and the given value has another log p."""
    axis = set_attribute("LogSoftmax", "axis", 0)
    engine = AutoregressiveEngine.load(edited(bundles("tiny"), tmp_path, axis, "top*"), threads=1)
    with pytest.raises(AssertionError, match="mass: max"):
        check_given(engine)


def test_most() -> None:
    assert (most_of(3), most_of(50_257)) == (3, TOP)


def test_ties() -> None:
    """Equal values have the order of their ids; many of them beyond the k-th, and infinities."""
    z = torch.randint(0, 4, (300, 30), generator=torch.manual_seed(5)).float()
    z[:100, 5:] = -torch.inf
    for k in (1, 7, 30):
        expected = z.sort(dim=-1, descending=True, stable=True).indices[..., :k]
        assert torch.equal(graphs.top_ids(z, k), expected)
    assert not torch.equal(z.topk(7).indices, graphs.top_ids(z, 7)), "torch's order is another"
