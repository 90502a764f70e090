"""Seconds of calls, memory of a process, and processes that measure one thing and end."""

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ancestral.errors import AncestralError


class MeasurementFailed(AncestralError, RuntimeError):
    """The process that measured ended without a result."""


def seconds(action: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def interleaved(
    actions: Sequence[Callable[[], object]], rounds: int, warm_ups: int = 0
) -> list[tuple[float, ...]]:
    """Seconds of each action in each round; the actions take turns, ours, theirs, ours, ...

    Args:
        actions: called in this order.
        rounds: that are timed.
        warm_ups: rounds before them that are not counted.
    """
    timed = [[seconds(action) for action in actions] for _ in range(warm_ups + rounds)]
    return list(zip(*timed[warm_ups:], strict=True))


def memory_now() -> int:
    """Resident memory of this process in bytes; its peak where the system does not tell (macOS)."""
    return _status("VmRSS") or _peak_by_rusage()


def memory_peak() -> int:
    """Largest resident memory that this process had, in bytes.

    Linux tells it for the program itself; getrusage's number begins with that of the process that
    started it.
    """
    return _status("VmHWM") or _peak_by_rusage()


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    found = (line.partition(":") for line in lines)
    return next((int(value.split()[0]) * 1024 for name, _, value in found if name == field), None)


def _peak_by_rusage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def in_process(
    what: str,
    module: str,
    *words: str,
    environment: Mapping[str, str] | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """The JSON object that a module prints on its last line, run in a process of its own.

    Args:
        what: the measurement, for the error.
        module: run by `python -P -m`: no module of the working folder is imported, which may be a
            stranger's.
        words: its arguments.
        environment: of the process; this one's where None.
        quiet: whether the standard error is kept for the error message, not shown.

    Raises:
        MeasurementFailed: the process broke down or printed something else.
    """
    done = subprocess.run(
        [sys.executable, "-P", "-m", module, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        env=environment,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        answer = None
    if done.returncode or not isinstance(answer, dict):
        said = (done.stderr or "").strip()[-2000:] or "nothing"
        raise MeasurementFailed(
            f"{what}: expected rows, but the process ended with status {done.returncode} (a "
            f"negative one is a signal, -9 often means that memory ran out) and said: {said}"
        )
    return answer
