"""`threads="measure"`: the fastest number is used for each batch; planned times decide here."""

import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from ancestral.engine import Engine, fastest_threads
from ancestral.engine.backends.measured_threads import MeasuredSession, MeasuredThreads
from ancestral.engine.fastest_threads import Action, counts_up_to, fastest, in_short_rounds
from ancestral.engine.measure import measure_engine
from ancestral.engine.thread_choice import ThreadChoice, ThreadKey, ThreadStore
from ancestral.errors import BundleError, InvalidInput
from ancestral.processor import physical_cores
from ancestral.sampling import Sampling
from ancestral.step_tensors import OFFSETS
from tests.conftest import Load

RUNTIME = f"onnxruntime {ort.__version__}"


class Step:
    """An action that has a planned time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __call__(self) -> None:
        """Do nothing; `planned` knows the time."""


def planned(actions: Sequence[Any]) -> list[tuple[float, ...]]:
    """Return the planned times, with one slow round of each that a median leaves out."""
    return [(action.seconds, 9.0, action.seconds) for action in actions]


@pytest.mark.parametrize(
    ("times", "best"),
    [
        ({1: 3.0, 2: 2.0, 3: 1.0}, 3),
        ({1: 1.0, 2: 2.0, 3: 0.5}, 3),
        ({1: 3.0, 2: 1.0, 3: 2.0}, 2),
        ({1: 1.0, 2: 1.0}, 1),
        ({1: 1.0, 2: 0.98}, 1),
        ({1: 1.0, 2: 0.96}, 2),
        ({1: 2.0}, 1),
    ],
)
def test_fastest(times: dict[int, float], best: int) -> None:
    """The least median wins; more threads have to gain 3%."""
    chosen, step_ms = fastest(tuple(times), lambda count: Step(times[count]), planned)
    assert chosen == best
    assert step_ms == {count: seconds * 1e3 for count, seconds in times.items()}


def test_two_sessions_at_most() -> None:
    """A session that lost is free before the next one is loaded."""
    alive: list[weakref.ref[Step]] = []

    def opened(count: int) -> Step:
        assert sum(each() is not None for each in alive) <= 1
        step = Step(1 / count if count < 4 else 2.0)
        alive.append(weakref.ref(step))
        return step

    assert fastest((1, 2, 3, 4, 6), opened, planned)[0] == 3


def test_counts() -> None:
    for cores in range(1, 200):
        counts = counts_up_to(cores)
        assert counts[0] == 1
        assert counts[-1] == cores
        assert list(counts) == sorted(set(counts))
        assert set(range(1, min(cores, 4) + 1)) <= set(counts)


def test_rounds_take_turns() -> None:
    """Every action runs equally often in each round, and the times are of one run."""
    calls: list[str] = []
    actions: list[Action] = [lambda: calls.append("a"), lambda: calls.append("b")]
    times = in_short_rounds(actions)
    assert [len(each) for each in times] == [fastest_threads._ROUNDS] * 2
    assert all(0 < time < 1 for each in times for time in each)
    assert calls.count("a") == calls.count("b")
    runs = "".join(calls).replace("ab", "a b").replace("ba", "b a").split()
    assert len(runs) >= 2 * fastest_threads._ROUNDS


class Sessions:
    """Loads a graph of a toy, and knows with which numbers of threads."""

    def __init__(self, load: Load, graph: str) -> None:
        self.engine, self.graph = load("tiny", "onnxruntime"), graph
        self.counts: list[int] = []

    def opened(self, threads: int) -> Any:
        self.counts.append(threads)
        return Engine.load(self.engine.bundle.path, threads=threads).session(self.graph)


def key_of(rows: int) -> ThreadKey:
    return ThreadKey("ab" * 32, rows, "EPYC", 2, RUNTIME)


def refuse(_: Sequence[Action]) -> list[tuple[float, ...]]:
    raise AssertionError("measured again")


def by_rows(sessions: Sessions) -> Callable[[Sequence[Action]], list[tuple[float, ...]]]:
    """Return times by which two threads are faster from the second measurement on."""
    measured = []

    def timed(actions: Sequence[Action]) -> list[tuple[float, ...]]:
        for action in actions:
            action()
        measured.append(len(actions))
        return [(1.0,), (2.0 if len(measured) == 1 else 0.5,)]

    return timed


def test_chosen_by_batch_and_remembered(load: Load, tmp_path: Path) -> None:
    """Each batch is measured once; another process and another engine read what was found."""
    sessions, store = Sessions(load, "step"), ThreadStore(tmp_path)
    threads = MeasuredThreads(key_of, sessions.opened, 9, store, by_rows(sessions))
    assert [threads.of(rows) for rows in (1, 3, 1, 3)] == [1, 2, 1, 2]
    assert sessions.counts == [1, 2, 1, 2]
    again = MeasuredThreads(key_of, sessions.opened, 9, store, refuse)
    assert [again.of(rows) for rows in (3, 1)] == [2, 1]
    with pytest.raises(AssertionError, match="measured again"):
        again.of(2)


def test_session_by_batch(load: Load, tmp_path: Path) -> None:
    """A loop runs in the session of its batch, and each number of threads is loaded once."""
    store, sessions = ThreadStore(tmp_path), Sessions(load, "step")
    for rows, count in ((1, 1), (3, 2), (4, 2)):
        store.save(ThreadChoice(key_of(rows), count, {count: 1.0}))
    threads = MeasuredThreads(key_of, sessions.opened, 9, store, refuse)
    signature = sessions.engine.bundle.manifest.graphs["step"].signature
    session = MeasuredSession(signature, threads, sessions.opened)
    for rows in (1, 3, 4, 1):
        session.bind({"b": rows, "s": 1}).run(1)
    assert sessions.counts == [1, 2]
    binding = session.bind({"b": 3, "s": 1})
    names = {spec.name for spec in signature.inputs} - {OFFSETS}
    inputs = {name: binding.read(name) for name in names} | {OFFSETS: np.arange(1)}
    MeasuredSession(signature, threads, sessions.opened).run(inputs)
    assert sessions.counts == [1, 2, 2]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("count", sorted({1, physical_cores()}))
def test_bits_of_the_chosen_number(load: Load, count: int) -> None:
    """An engine with a remembered number draws the bits of an engine with that number."""
    path = load("tiny", "onnxruntime").bundle.path
    measured = Engine.load(path, threads="measure")
    key = ThreadKey.here(measured.bundle.manifest.sha256, 3, RUNTIME)
    ThreadStore.of_user().save(ThreadChoice(key, count, {count: 1.0}))
    assert measured.threads(3) == count
    plain = Engine.load(path, threads=count)
    assert plain.threads(3) == count
    for sampling in (Sampling(), Sampling(temperature=0.7, top_p=0.8)):
        ours, theirs = (
            each.sample(3, labels=1, seed=5, sampling=sampling) for each in (measured, plain)
        )
        assert np.array_equal(ours.x, theirs.x)
        assert np.array_equal(ours.log_prob, theirs.log_prob)


@pytest.mark.usefixtures("cache")
def test_measured_here(load: Load) -> None:
    """Real times choose some number, which the store keeps under the key of this machine."""
    engine = Engine.load(load("tiny", "onnxruntime").bundle.path, threads="measure")
    chosen = engine.threads(2)
    assert chosen in counts_up_to(physical_cores())
    [kept] = ThreadStore.of_user().choices()
    assert kept.key == ThreadKey.here(engine.bundle.manifest.sha256, 2, RUNTIME)
    assert kept.threads == chosen
    assert set(kept.step_ms) == set(counts_up_to(physical_cores()))
    assert engine.verify().passed


def test_cache_that_cannot_be_written(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    engine = Engine.load(load("tiny", "onnxruntime").bundle.path, threads="measure")
    assert engine.threads(1) in counts_up_to(physical_cores())
    assert len(engine.sample(1, labels=0).x) == 1


def test_missing_graph(load: Load) -> None:
    """A graph that does not exist is refused when it is asked for, as with a number of threads."""
    engine = Engine.load(load("startless", "onnxruntime").bundle.path, threads="measure")
    with pytest.raises(BundleError, match="no graph 'step_filtered'"):
        engine.session("step_filtered")


@pytest.mark.usefixtures("cache")
def test_latent_model(load: Load) -> None:
    """The runtime chooses the number for graphs other than steps; for the prior it is measured."""
    path = load("codes", "onnxruntime").bundle.path
    engine: Any = Engine.load(path, threads="measure")
    assert engine.threads(2) is None
    assert engine.prior.threads(2) in counts_up_to(physical_cores())


@pytest.mark.parametrize("rows", [0, -1, 1.5, True])
def test_bad_rows(load: Load, rows: object) -> None:
    with pytest.raises(InvalidInput, match="rows"):
        load("tiny", "onnxruntime").threads(rows)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backend": "torch"}, "threads: expected a number for backend 'torch' on cpu"),
        ({"device": "cuda"}, "threads: expected a number for backend 'onnxruntime' on cuda"),
        ({"threads": "fast"}, "threads: expected an integer"),
    ],
)
def test_refused(load: Load, arguments: dict[str, Any], message: str) -> None:
    path = load("tiny", "onnxruntime").bundle.path
    with pytest.raises(InvalidInput, match=message):
        Engine.load(path, **({"threads": "measure"} | arguments))


@pytest.mark.usefixtures("cache")
def test_rows_of_a_measurement(load: Load) -> None:
    """A row has the number that was chosen for its batch, and rows stay in rising order."""
    path = load("tiny", "onnxruntime").bundle.path
    sha256, most = Engine.load(path).bundle.manifest.sha256, physical_cores()
    for batch, count in ((1, most), (2, 1), (3, most)):
        key = ThreadKey.here(sha256, batch, RUNTIME)
        ThreadStore.of_user().save(ThreadChoice(key, count, {count: 1.0}))
    rows = measure_engine(path, "onnxruntime", [3, 1, 2], threads="measure", rounds=1)
    assert [(row.batch, row.threads) for row in rows] == [(1, most), (2, 1), (3, most)]
    assert all(row.passed for row in rows)
