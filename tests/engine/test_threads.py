"""Calls that overlap, in threads or callbacks: each gives the bits of a separate call."""

import copy
import pickle
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pytest

from ancestral.engine import AutoregressiveEngine, LatentEngine, Sampling, step_loop
from ancestral.engine.backends.onnxruntime_session import OnnxRuntimeBinding, OnnxRuntimeSession
from ancestral.engine.generate import generate_batches
from ancestral.engine.prompt_batch import Options
from ancestral.errors import InvalidInput
from tests.conftest import Load, autoregressive
from tests.engine.simulated_plans import engine as compiled_engine
from tests.engine.threads import BOTH, SECONDS, assert_same, together
from tests.toys import BACKENDS

THREADS = {"onnxruntime": 16, "torch": 3, "triton": 2}
Call = Callable[[], Any]


@pytest.fixture(autouse=True)
def short_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Return to the host after every two steps, as the toys' events are short."""
    monkeypatch.setattr(step_loop, "STEPS_PER_LAUNCH", 2)


@pytest.fixture
def tiny(load: Load) -> AutoregressiveEngine:
    return autoregressive(load, "tiny", "onnxruntime")


def check(calls: list[Call]) -> None:
    """Compare concurrent calls with the same calls in sequence."""
    expected = [call() for call in calls]
    assert_same(together(calls), expected)


@pytest.mark.parametrize("rows", ["equal", "unequal"])
def test_samples(load: Load, backend: str, rows: str) -> None:
    engine = autoregressive(load, "tiny", backend)
    sizes = [3 if rows == "equal" else 1 + i % 5 for i in range(THREADS[backend])]
    check([lambda i=i, n=n: engine.sample(n, i % 2, seed=i) for i, n in enumerate(sizes)])


def test_every_call(tiny: AutoregressiveEngine) -> None:
    """Concurrent calls of different methods do not affect each other."""
    engine, x = tiny, tiny.sample(4, 1, seed=9).x
    later = np.full((3, 3), -1)
    later[1] = x[0, 1]
    filtered = Sampling(temperature=0.7, top_k=2)
    kinds: list[Callable[[int], Any]] = [
        lambda i: engine.sample(3, 0, seed=i),
        lambda i: engine.sample(3, 0, seed=i, sampling=filtered),
        lambda i: engine.complete(later, 3, 1, seed=i),
        lambda i: engine.log_prob(x, i),
        lambda i: engine.classify(x[i:]),
        lambda i: engine.generate([[1, 0], [2]], labels=0, seed=i),
    ]
    check([lambda i=i, kind=kind: kind(i) for kind in kinds for i in range(2)])


def test_two_engines(load: Load) -> None:
    engines = [
        (autoregressive(load, "tiny", "onnxruntime"), 0),
        (autoregressive(load, "gru", "onnxruntime"), None),
        (autoregressive(load, "gru", "torch"), None),
    ]
    check([lambda e=e, y=y, i=i: e.sample(2, y, i) for e, y in engines for i in range(2)])


def test_samples_during_verify(load: Load) -> None:
    engine = autoregressive(load, "tiny", "onnxruntime")
    check([engine.compare, *(lambda i=i: engine.sample(3, 0, seed=i) for i in range(3))])


@pytest.mark.parametrize("module", ["tensorrt_rtx", "tensorrt"])
def test_plans(tiny_bundle: Path, tmp_path: Path, module: Any) -> None:
    """Threads share one lane; one at a time sets shapes and addresses and runs."""
    engine = compiled_engine(tiny_bundle, tmp_path, module)
    assert isinstance(engine, AutoregressiveEngine)
    x = engine.sample(4, 1, seed=9).x
    sampled: list[Call] = [lambda i=i: engine.sample(1 + i % 2, 0, seed=i) for i in range(4)]
    evaluated: list[Call] = [lambda i=i: engine.log_prob(x[i:], 0) for i in range(4)]
    check([*sampled, *evaluated])


@pytest.mark.parametrize("backend", BOTH)
def test_latents(bundles: Callable[[str], Path], load: Load, backend: str) -> None:
    """The prior over codes is created once, by the first thread."""
    other = load("codes", backend)
    assert isinstance(other, LatentEngine)
    x = other.sample(3, 0).x
    engine = LatentEngine.load(bundles("codes"), backend=backend, threads=1)
    priors = together([lambda: engine.prior] * 4)
    assert priors[0] is not None
    assert len(set(map(id, priors))) == 1
    samples: list[Call] = [lambda i=i: engine.sample(1 + i % 2, 1, seed=i) for i in range(6)]
    bounds: list[Call] = [lambda i=i: engine.bound(x[i:], labels=0) for i in range(2)]
    check([*samples, *bounds, lambda: engine.reconstruct(x)])


@pytest.mark.parametrize("backend", BOTH)
def test_bounds(load: Load, backend: str) -> None:
    engine = load("bernoulli", backend)
    assert isinstance(engine, LatentEngine)
    x = engine.sample(4).x
    check([lambda i=i: engine.bound(x[: 1 + i % 3], k=5, seed=i) for i in range(8)])


# From callbacks


@pytest.mark.parametrize("backend", BACKENDS)
def test_progress_that_samples(load: Load, backend: str) -> None:
    tiny = autoregressive(load, "tiny", backend)
    expected = [tiny.sample(3, 0, seed=i) for i in range(2)]
    inner: list[Any] = []
    outer = tiny.sample(3, 0, seed=0, progress=lambda *_: inner.append(tiny.sample(3, 0, seed=1)))
    assert_same([outer, inner], [expected[0], [expected[1]] * len(inner)])
    assert len(inner) > 1


def test_progress_of_a_completion(tiny: AutoregressiveEngine) -> None:
    observed = np.full((3, 3), -1)
    observed[2, 1] = 1
    expected = tiny.complete(observed, 4, 0)
    got = tiny.complete(observed, 4, 0, progress=lambda *_: tiny.complete(observed, 4, 0, seed=5))
    assert_same(got, expected)


@pytest.mark.parametrize("backend", BOTH)
def test_stream_that_calls(load: Load, backend: str) -> None:
    engine = autoregressive(load, "text", backend)
    prompts = [[1], [2, 3, 4]]
    expected = engine.generate(prompts, seed=4)
    x = engine.sample(2, seed=1).x
    calls: list[Call] = [
        lambda: engine.log_prob(x),
        lambda: engine.sample(2, seed=8),
        lambda: engine.generate(prompts, seed=5),
    ]
    once = [call() for call in calls]

    def stream(*_: Any) -> None:
        assert_same([call() for call in calls], once)

    assert_same(engine.generate(prompts, seed=4, stream=stream), expected)


def test_progress_that_joins_a_thread(tiny: AutoregressiveEngine) -> None:
    """A callback that waits for a thread's call does not deadlock."""
    expected = [tiny.sample(3, 0, seed=i) for i in range(2)]
    inner: list[Any] = []

    def progress(*_: int) -> None:
        thread = Thread(target=lambda: inner.append(tiny.sample(3, 0, seed=1)), daemon=True)
        thread.start()
        thread.join(SECONDS)
        assert not thread.is_alive(), "deadlock: the thread waits for the call that waits for it"

    outer = tiny.sample(3, 0, seed=0, progress=progress)
    assert_same([outer, inner], [expected[0], [expected[1]] * len(inner)])


# Iterators


def batches(engine: AutoregressiveEngine, seed: int) -> Iterator[Any]:
    return engine.sample_batches(6, 0, seed, batch=2)


def test_interleaved_iterators(tiny: AutoregressiveEngine) -> None:
    expected = [list(batches(tiny, seed)) for seed in range(2)]
    turns = list(zip(batches(tiny, 0), batches(tiny, 1), strict=True))
    assert_same([list(each) for each in zip(*turns, strict=True)], expected)


def test_interleaved_generation(load: Load) -> None:
    engine = autoregressive(load, "text", "onnxruntime")

    def parts(seed: int) -> Iterator[Any]:
        return generate_batches(engine, [[1], [2, 3], [4]], Options(4, seed=seed, batch=1))

    expected = [list(parts(seed)) for seed in range(2)]
    turns = list(zip(parts(0), parts(1), strict=True))
    assert_same([list(each) for each in zip(*turns, strict=True)], expected)


def test_abandoned_iterator(tiny: AutoregressiveEngine) -> None:
    """An unfinished iterator holds no state that other calls need, before or after its deletion."""
    expected = list(batches(tiny, 1))
    first = batches(tiny, 0)
    next(first)
    assert_same(list(batches(tiny, 1)), expected)
    del first
    assert_same(list(batches(tiny, 1)), expected)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_after_an_exception(tiny: AutoregressiveEngine, error: type[BaseException]) -> None:
    expected = tiny.sample(3, 0, seed=2)

    def progress(done: int, total: int) -> None:
        if done > total // 2:
            raise error("from a callback")

    with pytest.raises(error, match="from a callback"):
        tiny.sample(3, 1, seed=7, progress=progress)
    assert_same(tiny.sample(3, 0, seed=2), expected)


# Objects that are created once or kept


def test_sessions_are_created_once(bundles: Callable[[str], Path]) -> None:
    engine = AutoregressiveEngine.load(bundles("text"), threads=1)
    assert len(set(map(id, together([lambda: engine.session("log_prob")] * 8)))) == 1
    assert len(set(map(id, together([engine.tokenizer] * 8)))) == 1


def test_one_binding_is_kept(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One binding is kept after any number of calls; the next call of its sizes reuses it."""
    alive: weakref.WeakSet[OnnxRuntimeBinding] = weakref.WeakSet()
    real = OnnxRuntimeSession.bind

    def bind(session: OnnxRuntimeSession, sizes: dict[str, int]) -> OnnxRuntimeBinding:
        alive.add(binding := real(session, sizes))
        return binding

    monkeypatch.setattr(OnnxRuntimeSession, "bind", bind)
    engine = AutoregressiveEngine.load(tiny_bundle, threads=1)
    together([lambda i=i: engine.sample(1 + i % 3, 0, seed=i) for i in range(8)])
    assert len(alive) == 1
    engine.sample(2, 0)
    kept = set(alive)
    engine.sample(2, 1)
    assert set(alive) == kept
    assert len(kept) == 1


def test_copies_are_refused(tiny: AutoregressiveEngine) -> None:
    for attempt in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(
            InvalidInput, match=r"pass the path '/.*, and call Engine\.load with it"
        ):
            attempt(tiny)


def test_replaced_engine_shares_no_binding(tiny: AutoregressiveEngine) -> None:
    tiny.sample(3, 0)
    other = replace(tiny)
    check([lambda e=e, i=i: e.sample(3, 0, seed=i) for i, e in enumerate((tiny, other))])
    assert other._kept is not tiny._kept


def test_lane_has_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second thread waits until the first leaves the lane; the first may enter it again."""
    import contextlib

    from ancestral.engine.backends import cuda_graphs

    monkeypatch.setattr(cuda_graphs.torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(cuda_graphs.torch.cuda, "stream", lambda stream: contextlib.nullcontext())
    lane, entered = cuda_graphs.CudaLane("cuda"), Event()

    def enter() -> None:
        with lane.active():
            entered.set()

    with lane.active(), lane.active():
        thread = Thread(target=enter, daemon=True)
        thread.start()
        assert not entered.wait(0.05)
    assert entered.wait(SECONDS)
    thread.join(SECONDS)
