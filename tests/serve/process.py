"""`ancestral serve` as a process of its own."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.serve.drawing import SECONDS, until

_START = "from ancestral.cli.start import start; start()"


class Process:
    """A server that runs.

    Attributes:
        lines: what it has written to standard error.
        url: its address.
    """

    def __init__(self, *arguments: str | Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, "serve", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        self.lines: list[str] = []
        self._arrived: queue.Queue[str] = queue.Queue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()
        try:
            first = self._arrived.get(timeout=SECONDS)
            assert " on http://" in first, first
        except BaseException:
            self.close()
            raise
        self.url = first.split()[-1]

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self.lines.append(line.rstrip("\n"))
            self._arrived.put(line)

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._process.pid

    def ready(self) -> None:
        """Wait until it is ready."""

        def answers() -> bool:
            assert self._process.poll() is None, self.lines
            try:
                return httpx.get(f"{self.url}/health").status_code == 200
            except httpx.TransportError:
                return False

        until(answers)

    def send(self, sig: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(sig)

    def end(self, seconds: float = SECONDS) -> int:
        """Wait for the end of the process, and return its exit code."""
        code = self._process.wait(seconds)
        self._reading.join(SECONDS)
        assert self._process.stdout is not None
        assert self._process.stdout.read() == ""
        return code

    def records(self) -> list[dict[str, Any]]:
        """Return the lines of JSON."""
        return [json.loads(line) for line in self.lines if line.startswith("{")]

    def close(self) -> None:
        """End the process if it runs."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(SECONDS)
        self._reading.join(SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


@contextmanager
def serving(*arguments: str | Path) -> Iterator[Process]:
    """Serve on a free port until the end of the block."""
    process = Process(*arguments, "--port", "0", "--threads", "1")
    try:
        process.ready()
        yield process
    finally:
        process.close()
