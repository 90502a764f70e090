"""Completions: unbiased estimates of p(observed) and of what is free, exact after a prefix."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.engine import Completion, Engine, loop, particles
from ancestral.engine.backends.onnxruntime import OnnxRuntimeBinding
from ancestral.errors import InvalidInput
from ancestral.philox import Stream, uniforms
from tests.conftest import Load
from tests.laws.laws import limits

SEED = 4
RUNS = 250
CASES = {
    "tiny": [-1, 0, -1, -1, 1, 0, -1, -1, 0],
    "wavenet": [-1, 2, 2, -1, -1, 1, -1, -1, 0],
    "table": [-1, -1, -1, 0, 1, 2, -1, 1, -1],
    "tiny after a block": [1, 2, 0, -1, 1, -1, -1, 2, -1],
}
"""Values by positions; their sites are others in wavenet (columns first) and table (random)."""


def case(load: Load, name: str, backend: str = "onnxruntime") -> tuple[Engine, NDArray[np.int64]]:
    """An engine, and what is observed, by sites."""
    engine = load(name.split()[0], backend)
    return engine, engine.data.in_place(np.array([CASES[name]]))[0]


def label(engine: Engine) -> int | None:
    return None if engine.data.num_classes is None else 1


def enumerated(
    engine: Engine, observed: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Every event [n, t] that keeps what is observed, by sites, and its probability [n]."""
    flat = observed.reshape(-1)
    free = flat < 0
    values = np.array(list(itertools.product(range(engine.data.levels), repeat=int(free.sum()))))
    x = np.tile(flat, (len(values), 1))
    x[:, free] = values
    return x, np.exp(engine.log_prob(x, label(engine)))


def completions(engine: Engine, observed: NDArray[np.int64], n: int) -> list[Completion]:
    """Runs of n particles, none of which shares noise with another."""
    return [
        engine.complete(observed, n, label(engine), seed=SEED, first_index=n * i)
        for i in range(RUNS)
    ]


def estimates(
    runs: list[Completion], free: NDArray[np.bool_], levels: int
) -> NDArray[np.float64]:
    """Of p(observed), and of p(observed, x_s = v) at each free site s: [runs, 1 + sites x levels]."""
    rows = []
    for each in runs:
        z, weight = np.exp(each.log_prob_observed), np.exp(each.log_weight)
        x = each.x.reshape(len(each), -1)[:, free]
        parts = [z * (weight[:, None] * (x == value)).sum(axis=0) for value in range(levels)]
        rows.append(np.concatenate([[z], *parts]))
    return np.array(rows)


def check_unbiased(
    engine: Engine, observed: NDArray[np.int64], n: int, truth: NDArray[np.float64]
) -> list[Completion]:
    """The means over runs are the enumerated probabilities, within 4 standard errors of the runs."""
    runs = completions(engine, observed, n)
    got = estimates(runs, observed.reshape(-1) < 0, engine.data.levels)
    error = got.std(axis=0, ddof=1) / len(runs) ** 0.5
    off = np.abs(got.mean(axis=0) - truth) / error
    assert off.max() < 4, f"biased: {off.max():.1f} standard errors at {off.argmax()}"
    return runs


def truths(engine: Engine, observed: NDArray[np.int64]) -> NDArray[np.float64]:
    """What `estimates` estimates, by enumeration."""
    x, p = enumerated(engine, observed)
    x = x[:, observed.reshape(-1) < 0]
    parts = [(p[:, None] * (x == value)).sum(axis=0) for value in range(engine.data.levels)]
    return np.concatenate([[p.sum()], *parts])


@pytest.mark.parametrize("name", CASES)
def test_unbiased(load: Load, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Resampled wherever it may be, so that every weight passes through resampling."""
    monkeypatch.setattr(particles, "UNEVEN", 2)
    engine, observed = case(load, name)
    runs = check_unbiased(engine, observed, 5, truths(engine, observed))
    assert {each.resampled for each in runs} == {3 if CASES[name][-1] < 0 else 2} or (
        name == "table" and {each.resampled for each in runs} == {2}
    )


def test_unbiased_where_resampling_depends_on_the_weights(load: Load) -> None:
    engine, observed = case(load, "tiny")
    runs = check_unbiased(engine, observed, 6, truths(engine, observed))
    times = [each.resampled for each in runs]
    assert min(times) == 0 < max(times)
    assert all(1 <= each.ess <= 6 for each in runs)


def _weights_lost(log_weight: NDArray[np.float64]) -> float:
    size = particles_ess(log_weight)
    log_weight[:] = 0
    return size


particles_ess = particles.effective_sample_size
FAULTS: dict[str, tuple[Any, str, Callable[..., Any]]] = {
    "weights lost": (particles, "effective_sample_size", _weights_lost),
    "nothing copied": (particles, "systematic", lambda weight, u: np.arange(len(weight))),
    "heaviest alone": (particles, "systematic", lambda w, u: np.full(len(w), w.argmax())),
    "sites for positions": (DataSpec, "in_order", lambda data, x: x.reshape(len(x), -1)),
    "cache left behind": (OnnxRuntimeBinding, "gather", lambda self, rows: None),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted(load: Load, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    engine, observed = case(load, "table" if fault.startswith("sites") else "tiny")
    truth = truths(engine, observed)
    monkeypatch.setattr(particles, "UNEVEN", 2)
    monkeypatch.setattr(*FAULTS[fault])
    with pytest.raises(AssertionError, match="biased"):
        check_unbiased(engine, observed, 5, truth)
