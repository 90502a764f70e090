"""A server in a thread, on a port of its own, that real clients call."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from ancestral.serve.metrics import Metrics
from ancestral.serve.run import HttpServer, listen
from ancestral.serve.served import open_all
from ancestral.serve.server import Server
from ancestral.serve.settings import Settings

READY = 60.0
"""Seconds in which a server must become ready."""


class Running:
    """A server that runs in a thread.

    Attributes:
        url: its address.
        server: its bundles, settings and metrics.
        http: a client of it.
    """

    def __init__(self, paths: list[Path], settings: Settings) -> None:
        self.server = Server(open_all(paths, settings, metrics := Metrics()), settings, metrics)
        self._socket = listen("127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._http = HttpServer(self.server, lambda words: None)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.http = httpx.Client(base_url=self.url, timeout=READY)

    def _run(self) -> None:
        asyncio.run(self._http.serve(sockets=[self._socket]))

    def __enter__(self) -> "Running":
        self._thread.start()
        end = time.monotonic() + READY
        while not self._http.started or not self.server.ready:
            assert time.monotonic() < end, "the server did not become ready"
            assert self._thread.is_alive()
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()
        self._http.should_exit = True
        self._thread.join(READY)
        assert not self._thread.is_alive()

    def idle(self) -> None:
        """Wait until no slot is taken and nothing waits."""
        end = time.monotonic() + READY
        while any(each.thread.busy or each.thread.waiting for each in self.server.served.values()):
            assert time.monotonic() < end, "slots are still taken"
            time.sleep(0.01)


Serve = Callable[..., Running]


@pytest.fixture(scope="module")
def serve(bundles: Callable[[str], Path]) -> Iterator[Serve]:
    """Return a function that serves toys, with settings, until the end of the module."""
    with contextlib.ExitStack() as stack:

        def run(*toys: str | Path, **settings: Any) -> Running:
            paths = [bundles(toy) if isinstance(toy, str) else toy for toy in toys]
            return stack.enter_context(Running(paths, Settings(threads=1, **settings)))

        yield run
