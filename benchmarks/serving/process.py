"""The server as a process on a core of its own."""

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_START = "from ancestral.cli.start import start; start()"
_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server that runs.

    Attributes:
        url: its address.
        pid: number of its process.
    """

    url: str
    pid: int

    @property
    def resident_mb(self) -> float:
        """Resident memory, in 10^6 bytes."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """Run a block, and the processes that it starts, on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def serving(bundle: Path, core: int, slots: int, queue: int) -> Iterator[Running]:
    """Serve a bundle with one thread, on one core, until the end of the block.

    Raises:
        RuntimeError: the server does not become ready.
    """
    options = ["--port", "0", "--threads", "1", "--slots", str(slots), "--queue", str(queue)]
    with on_core(core):
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, "serve", str(bundle), *options],
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
    assert process.stderr is not None
    # Its log lines are read, because a full pipe would stop it.
    reading = threading.Thread(target=process.stderr.read, daemon=True)
    try:
        url = process.stderr.readline().split()[-1]
        reading.start()
        _wait(process, url)
        yield Running(url, process.pid)
    finally:
        process.terminate()
        process.wait(_SECONDS)
        if reading.ident is not None:
            reading.join(_SECONDS)
        process.stderr.close()


def _wait(process: "subprocess.Popen[str]", url: str) -> None:
    end = time.monotonic() + _SECONDS
    while True:
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("the server did not become ready") from None
            time.sleep(0.05)
