"""Processes with a time limit; their output goes to the screen or the log."""

import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from benchmarks import machine

LAST_LINES = 5
"""Number of last lines of a failed process that are repeated in the report of its failure."""


class Log:
    """Output to the screen, and to a file that contains more."""

    def __init__(self, file: Path) -> None:
        """Create the file, or empty it."""
        file.parent.mkdir(parents=True, exist_ok=True)
        self.path = file
        self.file: TextIO = file.open("w", buffering=1)

    def close(self) -> None:
        """Close the file."""
        self.file.close()

    def say(self, line: str) -> None:
        """Write a line to the screen and the file."""
        print(line, flush=True)
        self.write(line)

    def write(self, line: str) -> None:
        """Write a line only to the file."""
        self.file.write(line + "\n")

    def size(self) -> int:
        """Return the size of the file so far, in bytes."""
        self.file.flush()
        return self.path.stat().st_size

    def last_lines(self, start: int) -> str:
        """Return the last lines after a byte offset in the file, joined; "" if there are none."""
        lines = self.path.read_bytes()[start:].decode(errors="replace").splitlines()
        return " | ".join([line.strip() for line in lines if line.strip()][-LAST_LINES:])


@dataclass(frozen=True, slots=True)
class Exit:
    """How a process ended.

    Attributes:
        status: exit status, negative for a signal; None if the process exceeded its time.
        last_lines: last lines that the process wrote.
    """

    status: int | None
    last_lines: str = ""

    def __str__(self) -> str:
        """Return the end of a sentence that begins with "its process"."""
        how = f"ended with status {self.status}"
        if self.status is None:
            how = "was ended because its time was over"
        elif self.status < 0:
            how = f"was killed by {_SIGNALS.get(-self.status, f'signal {-self.status}')}"
        return f"{how}; its last lines: {self.last_lines}" if self.last_lines else how


_SIGNALS = {each.value: each.name for each in signal.Signals}


def start(
    command: Sequence[str], log: Log, environment: Mapping[str, str], *, screen: bool = False
) -> subprocess.Popen[str]:
    """Start a process in its own group, in the checkout; its output goes to the log."""
    return subprocess.Popen(
        command,
        cwd=machine.CHECKOUT,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if screen else log.file,
        stderr=log.file,
        text=True,
        start_new_session=True,
    )


def run(
    command: Sequence[str],
    log: Log,
    environment: Mapping[str, str],
    seconds: float,
    *,
    screen: bool,
) -> Exit:
    """Run a process to its end, or until its time is over.

    Args:
        command: command line.
        log: log that gets the process's output.
        environment: whole environment of the process.
        seconds: time limit.
        screen: whether the standard output goes to the screen too.
    """
    begin = log.size()
    process = start(command, log, environment, screen=screen)
    reader = threading.Thread(target=_forward, args=(process, log), daemon=True)
    reader.start()
    status = None
    try:
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(seconds)
    finally:
        end(process)
        reader.join(5)
        if process.stdout is not None:
            process.stdout.close()
    return Exit(status, log.last_lines(begin))


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process and the processes that it started."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _forward(process: subprocess.Popen[str], log: Log) -> None:
    for line in process.stdout or ():
        log.say(line.rstrip("\n"))


def environment(*, rehearsal: bool) -> dict[str, str]:
    """Return the environment of a process: the current one, importing from the checkout.

    Kernels are interpreted only in a rehearsal. The variables of pytest are left out: a run that
    inherits PYTEST_XDIST_WORKER would act as a worker and record nothing.
    """
    kept = {
        name: value
        for name, value in machine.environment().items()
        if name != "TRITON_INTERPRET" and not name.startswith("PYTEST_")
    }
    return kept | ({"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"} if rehearsal else {})
