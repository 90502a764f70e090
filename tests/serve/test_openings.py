"""The thread of an engine: how it is opened, fails, and is opened anew."""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from ancestral.engine import AutoregressiveEngine, Delta, Desk, Engine, Request
from ancestral.errors import BundleError, InvalidInput
from ancestral.serve import engine_thread
from ancestral.serve.app import create_app
from ancestral.serve.engine_thread import OPENINGS, EngineThread
from ancestral.serve.metrics import Metrics
from ancestral.serve.refused import Refused
from ancestral.serve.served import open_all
from ancestral.serve.server import Server
from ancestral.serve.settings import Settings
from tests.serve.drawing import SECONDS, Drawn, draw, until
from tests.tamper import copied

T = TypeVar("T")
Bundles = Callable[[str], Path]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, SECONDS))


class Loads:
    """A function that opens an engine, fails on request, and counts.

    Attributes:
        at: times at which it was called.
        error: what it raises; None opens the engine.
        gate: it waits for this.
    """

    def __init__(self, bundle: Path) -> None:
        self.at: list[float] = []
        self.error: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()
        self._bundle = bundle

    def __call__(self) -> Engine:
        self.at.append(time.monotonic())
        assert self.gate.wait(SECONDS)
        if self.error is not None:
            raise self.error
        return Engine.load(self._bundle, threads=1)


@pytest.fixture
def loads(bundles: Bundles) -> Loads:
    return Loads(bundles("tiny"))


@pytest.fixture
def thread(loads: Loads, monkeypatch: pytest.MonkeyPatch) -> Iterator[EngineThread]:
    """A thread that has not started, whose minutes are short."""
    monkeypatch.setattr(engine_thread, "MINUTE", 1.2)
    made = EngineThread("tiny", loads, Settings(slots=2), Metrics().of("tiny"))
    yield made
    loads.gate.set()
    made.stop(drop=True)
    if made.ident is not None:
        made.join(SECONDS)
        assert not made.is_alive()


def test_stop_while_the_bundle_is_opened(loads: Loads, thread: EngineThread) -> None:
    loads.gate.clear()
    thread.start()
    until(lambda: loads.at)
    assert thread.state == "opening"
    with pytest.raises(Refused, match="is being opened"):
        thread.check()
    thread.stop()
    assert thread.state == "stopping"
    loads.gate.set()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert len(loads.at) == 1


def test_the_first_opening_fails(loads: Loads, thread: EngineThread) -> None:
    """Whoever started the server has to see why: there is no second try."""
    loads.error = InvalidInput("threads: expected fewer")
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive()
    assert thread.refusal is loads.error
    assert len(loads.at) == 1


class Panic(BaseException):
    """What a library written in Rust raises when it panics: it is not an Exception."""


@pytest.mark.parametrize("error", [RuntimeError("a runtime's"), Panic("a library's")])
def test_openings_are_bounded(loads: Loads, thread: EngineThread, error: BaseException) -> None:
    """Three in a minute, while clients get an error at once; then it draws again."""
    thread.start()
    until(lambda: thread.ready)
    loads.error = error

    async def client() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Desk, "round", raising)
            with pytest.raises(Refused, match="failed and is opened anew") as caught:
                await draw(thread, Request(label=0))
            assert caught.value.status == 503

    def raising(desk: Desk) -> list[Delta]:
        raise error

    run(client())
    until(lambda: thread.state == "failed")
    with pytest.raises(Refused, match="failed and is opened anew"):
        thread.check()
    until(lambda: len(loads.at) >= 7)
    windows = zip(loads.at, loads.at[OPENINGS:], strict=False)
    assert all(last - first >= engine_thread.MINUTE - 0.01 for first, last in windows)
    loads.error = None
    until(lambda: thread.ready)
    assert len(run(draw(thread, Request(label=0)))[0].values) == 9


def test_stop_while_it_waits_to_open(
    loads: Loads, thread: EngineThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_thread, "MINUTE", 1e6)
    thread.start()
    until(lambda: thread.ready)
    loads.error = RuntimeError("still broken")
    monkeypatch.setattr(AutoregressiveEngine, "check_files", lambda self: 1 / 0)
    thread.examine()
    until(lambda: len(loads.at) == 2)
    time.sleep(0.1)
    thread.stop()
    thread.join(5)
    assert not thread.is_alive()
    assert len(loads.at) == 2


def test_a_doubt_about_a_sound_engine(loads: Loads, thread: EngineThread) -> None:
    """A call that failed by itself does not end the draws of others."""
    thread.start()
    until(lambda: thread.ready)

    async def clients() -> list[Drawn]:
        drawing = asyncio.ensure_future(draw(thread, *[Request(label=0)] * 40))
        for _ in range(30):
            thread.examine()
            await asyncio.sleep(0.001)
        return await drawing

    assert len(run(clients())) == 40
    until(lambda: not thread._doubted)
    assert (len(loads.at), thread.state) == (1, "ready")


def test_failures_at_the_same_time(loads: Loads, thread: EngineThread) -> None:
    """A launch and two calls fail because of one broken engine: it is opened anew once."""
    thread.start()
    until(lambda: thread.ready)
    broken = thread.opened()
    failing = threading.Event()
    real = AutoregressiveEngine.check_files

    def check(engine: AutoregressiveEngine) -> None:
        if failing.is_set() and engine is broken:
            raise RuntimeError("broken")
        real(engine)

    async def clients() -> list[Any]:
        calls = [asyncio.ensure_future(draw(thread, *[Request(label=0)] * 9)) for _ in range(3)]
        await asyncio.sleep(0)
        failing.set()
        thread.examine()
        thread.examine()
        return await asyncio.gather(*calls, return_exceptions=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoregressiveEngine, "check_files", check)
        told = run(clients())
        until(lambda: thread.ready and thread.engine is not broken)
        time.sleep(0.1)
    assert {type(each) for each in told} == {Refused}
    assert len(loads.at) == 2
    assert thread.ready


def test_a_refusal_and_a_failure_at_the_same_time(
    loads: Loads, thread: EngineThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that does not fit gets its refusal, even if the launch after it fails."""
    thread.start()
    until(lambda: thread.ready)

    def raising(desk: Desk) -> list[Delta]:
        raise RuntimeError("broken")

    monkeypatch.setattr(Desk, "round", raising)
    loads.gate.clear()

    async def clients() -> list[Any]:
        calls = (draw(thread, Request([9], label=0)), draw(thread, Request(label=0)))
        return await asyncio.gather(*calls, return_exceptions=True)

    refused, failed = run(clients())
    assert isinstance(refused, InvalidInput)
    assert isinstance(failed, Refused)


def test_a_failed_engine_is_freed(loads: Loads, thread: EngineThread) -> None:
    """It is gone before the next one is opened, which may need its memory."""
    import gc
    import weakref

    thread.start()
    until(lambda: thread.ready)
    old = weakref.ref(thread.opened().backend)
    loads.gate.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoregressiveEngine, "check_files", lambda self: 1 / 0)
        thread.examine()
        until(lambda: len(loads.at) == 2)
        gc.collect()
        assert old() is None


def started(server: Server) -> None:
    """Start the application of a server as others do, wait until it is ready, and end it."""

    async def lives() -> None:
        app = create_app(server)
        async with app.router.lifespan_context(app):
            await server.until_ready()
            assert server.ready

    run(lives())


def test_until_ready(bundles: Bundles) -> None:
    metrics, settings = Metrics(), Settings(threads=1)
    server = Server(open_all([bundles("tiny")], settings, metrics), settings, metrics)
    assert not server.ready
    started(server)


def test_until_it_is_refused(bundles: Bundles, tmp_path: Path) -> None:
    """A bundle that cannot be opened does not keep others waiting for ever."""
    bundle = copied(bundles("tiny"), tmp_path)
    metrics, settings = Metrics(), Settings(threads=1)
    server = Server(open_all([bundle], settings, metrics), settings, metrics)
    (bundle / server.served[bundle.name].manifest.weights).unlink()
    with pytest.raises(BundleError, match="safetensors: missing"):
        started(server)
