"""Laws of batches: a row is as in a batch of one, whatever the positions of the other rows."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.engine import Engine
from ancestral.engine.noise import Noise
from ancestral.errors import InvalidInput
from tests.conftest import Load

from .faults import faulty_model, plant
from .laws import (
    assert_close,
    assert_same_draws,
    events,
    given,
    limits,
    margins,
    position_log_prob,
    start_values,
)

B = 5


def check_batch_of_one(engine: Engine) -> None:
    """Compare log p of a batch with that of each event in a batch of one."""
    x, label = events(engine, B)
    together = position_log_prob(engine, x, label)
    single = [
        position_log_prob(engine, x[i : i + 1], None if label is None else label[i : i + 1])
        for i in range(B)
    ]
    assert_close(together, np.concatenate(single), limits(engine).nats, "row of a batch")


def check_batches(engine: Engine, toy: str, first_index: int, batch: int | None) -> None:
    """Check that sample i depends only on (seed, first_index + i), not on its batch."""
    n, skip = 12, 4
    _, label = events(engine, n)
    forced = start_values(engine, n)
    whole = engine.sample(n, label, seed=9, observed=engine.data.in_place(forced)).x
    whole = engine.data.in_order(whole)
    part = engine.sample_batches(
        n - skip,
        None if label is None else label[skip:],
        seed=9,
        first_index=first_index,
        observed=engine.data.in_place(forced[skip:]),
        batch=batch,
    )
    x = engine.data.in_order(np.concatenate([each.x for each in part]))
    u = Noise(9, 0).uniforms(n, x.shape[1])
    margin = margins(toy, whole, label, u)[skip:]
    assert_same_draws(x, whole[skip:], margin, limits(engine).cdf)


def check_ragged(engine: Engine, dirty: float) -> None:
    """Check that rows that start at different times, over caches with old values, are right."""
    x, label = events(engine, B)
    first, t = engine.bundle.manifest.first_position, engine.data.length
    expected = position_log_prob(engine, x, label)
    session = engine.session("step")
    binding = session.bind({"b": B, "s": 1})
    for pair in session.signature.carried:
        spec = session.signature.input(pair.input)
        if spec.dtype == "float32":
            shape = spec.shape({"b": B})
            binding.write(pair.input, np.full(shape, dirty, np.float32))
    for name, array in given(engine, B, label).items():
        binding.write(name, array)
    binding.write("observed", x)
    binding.write("values", x)
    binding.write("position", np.full(B, first))
    binding.run(2)
    binding.write("position", np.full(2, first), slice(1, 3))
    binding.run(1)
    binding.write("position", np.full(1, first), slice(3, 4))
    binding.run(t - first)
    assert (binding.read("position") == t).all()
    start = slice(first, None)
    got = binding.read("log_p")[:, start]
    assert_close(got, expected[:, start], limits(engine).nats, "rows at different positions")


def test_batch_of_one(engine: Engine) -> None:
    check_batch_of_one(engine)


def test_batch_of_one_planted(bundles: Callable) -> None:
    toy, model = "tiny", faulty_model("rows mixed", "tiny")
    with pytest.raises(AssertionError, match="row of a batch: max"):
        check_batch_of_one(Engine.load(bundles(toy), backend="torch", threads=1, model=model))


@pytest.mark.parametrize("batch", [None, 3])
def test_batches(engine: Engine, toy: str, batch: int | None) -> None:
    check_batches(engine, toy, first_index=4, batch=batch)


def test_batches_planted(load: Load, backend: str) -> None:
    toy = "tiny"
    with pytest.raises(AssertionError, match="though u is"):
        check_batches(load(toy, backend), toy, first_index=0, batch=None)


@pytest.mark.parametrize("dirty", [0.0, -1e4])
def test_ragged(engine: Engine, dirty: float) -> None:
    check_ragged(engine, dirty)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_ragged_planted(bundles: Callable, tmp_path, backend: str) -> None:
    """Planted: a row reads slots beyond its position, which hold old values."""
    toy = "tiny"
    with pytest.raises(AssertionError, match="rows at different positions"):
        check_ragged(plant(bundles(toy), tmp_path, "stale slots", toy, backend), dirty=7.0)


def test_gather(engine: Engine) -> None:
    """After a gather, row i has the state of row rows[i], and continues as that row."""
    x, label = events(engine, B)
    first, t = engine.bundle.manifest.first_position, engine.data.length
    rows = np.array([3, 3, 0, 4, 1])

    def prepared() -> object:
        binding = engine.session("step").bind({"b": B, "s": 1})
        for name, array in given(engine, B, label).items():
            binding.write(name, array)
        binding.write("observed", x)
        binding.write("values", x)
        binding.write("position", np.full(B, first))
        binding.run(3)
        return binding

    binding = prepared()
    carried = [pair.input for pair in engine.session("step").signature.carried]
    before = {name: binding.read(name) for name in carried}
    binding.gather(rows)
    for name, array in before.items():
        assert np.array_equal(binding.read(name), array[rows]), name
    for name, array in given(engine, B, label).items():
        binding.write(name, array[rows])
    binding.write("observed", x[rows])
    binding.run(t - first - 3)
    expected = position_log_prob(engine, x, label)[rows]
    assert_close(
        binding.read("log_p")[:, first:], expected[:, first:], limits(engine).nats, "gathered"
    )


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("u", np.zeros((B, 2), np.float32)),
        ("position", np.zeros(B, np.int32)),
        ("nonsense", np.zeros(B, np.int64)),
    ],
    ids=["shape", "dtype", "name"],
)
def test_refused(engine: Engine, name: str, array: NDArray[np.generic]) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        engine.session("step").bind({"b": B, "s": 1}).write(name, array)
