"""Laws of given values that the steps score: a sample's log-probability is the bits it carried."""

from collections.abc import Callable

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, Engine, Generated
from tests.conftest import Load, autoregressive

from .faults import plant
from .laws import assert_close, limits, start_values
from .test_samples import SEED, N, labels

BATCH = 7


def drawn(engine: AutoregressiveEngine, batch: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Samples of nothing given, in batches: values and log p."""
    first = start_values(engine, N) if engine.first_position else None
    given = None if first is None else engine.data.in_place(first)
    parts = list(engine.sample_batches(N, labels(engine), seed=SEED, observed=given, batch=batch))
    return np.concatenate([s.x for s in parts]), np.concatenate([s.log_prob for s in parts])


def check_bits(
    engine: AutoregressiveEngine, scorer: AutoregressiveEngine, path: str = "steps"
) -> None:
    """What one engine drew has the same bits when another, or it itself, scores it."""
    for batch in (None, BATCH):
        x, log_p = drawn(engine, batch)
        rows = {"batch": batch} if path == "steps" else {}
        again = scorer.log_prob(x, labels(engine), path=path, **rows)
        assert np.array_equal(again, log_p), f"other bits: {(again != log_p).sum()} of {N} events"


def continued(engine: AutoregressiveEngine) -> tuple[list[Generated], np.ndarray | None]:
    """Rows of prompts of different lengths, some of which are stopped early."""
    t, levels = engine.data.length, engine.data.levels
    shortest = engine.first_position
    lengths = [shortest + i % (t - shortest) for i in range(N)]
    random = np.random.default_rng(4)
    prompts = [random.integers(0, levels, length) for length in lengths]
    label = labels(engine)
    return engine.generate(prompts, 3, stop=[0], labels=label, seed=SEED, batch=BATCH), label


def check_generated(engine: AutoregressiveEngine, batch: int) -> None:
    rows, label = continued(engine)
    again = engine.generated_log_prob(rows, label, batch=batch)
    carried = [np.concatenate([row.prompt_log_p, row.log_p]) for row in rows]
    other = [i for i in range(N) if not np.array_equal(again[i], carried[i])]
    assert not other, f"other bits: rows {other}"


def test_bits(load: Load, toy: str) -> None:
    engine = autoregressive(load, toy, "onnxruntime")
    check_bits(engine, engine)


@pytest.mark.parametrize("toy", ["tiny", "llama"])
def test_bits_planted(load: Load, bundles: Callable, tmp_path, toy: str) -> None:
    engine = autoregressive(load, toy, "onnxruntime")
    with pytest.raises(AssertionError, match="other bits"):
        check_bits(engine, engine, path="parallel")
    other = plant(bundles(toy), tmp_path, "window", toy, "onnxruntime")
    assert isinstance(other, AutoregressiveEngine)
    with pytest.raises(AssertionError, match="other bits"):
        check_bits(engine, other)


def test_generated_bits(load: Load, toy: str) -> None:
    check_generated(autoregressive(load, toy, "onnxruntime"), BATCH)


def test_generated_bits_planted(load: Load) -> None:
    """In batches of other rows, other prompts are prefilled together."""
    with pytest.raises(AssertionError, match="other bits"):
        check_generated(autoregressive(load, "llama", "onnxruntime"), 1)


def check_table(engine: Engine, scorer: Engine) -> None:
    assert isinstance(engine, AutoregressiveEngine)
    assert isinstance(scorer, AutoregressiveEngine)
    x, log_p = drawn(engine, None)
    label = labels(engine)
    steps = scorer.position_log_prob(x, label, path="steps")
    assert_close(steps.sum(1, dtype=np.float64), log_p, limits(engine).nats, "log p by steps")
    parallel = engine.position_log_prob(x, label)
    assert_close(steps, parallel, limits(engine).nats, "log p of positions by steps")


def test_table(engine: Engine) -> None:
    check_table(engine, engine)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_table_planted(load: Load, bundles: Callable, tmp_path, backend: str) -> None:
    sound = load("tiny", backend)
    faulty = plant(bundles("tiny"), tmp_path, "window", "tiny", backend)
    with pytest.raises(AssertionError, match="log p by steps: max"):
        check_table(sound, faulty)


def test_generated_table(engine: Engine) -> None:
    assert isinstance(engine, AutoregressiveEngine)
    rows, label = continued(engine)
    again = engine.generated_log_prob(rows, label)
    for row, log_p in zip(rows, again, strict=True):
        carried = np.concatenate([row.prompt_log_p, row.log_p])
        assert_close(log_p, carried, limits(engine).nats, "log p of generated rows")
