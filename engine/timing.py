"""Time of calls, memory of a process, and processes that measure one thing and end."""

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
    """A measuring process ended without a result."""


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def interleaved(
    actions: Sequence[Callable[[], object]], rounds: int, warm_ups: int = 0
) -> list[tuple[float, ...]]:
    """Return the seconds of each action in each round; the actions take turns within a round.

    Args:
        actions: actions, in the order in which they are called.
        rounds: number of rounds that are timed.
        warm_ups: number of rounds before them that are not.
    """
    timed = [[seconds(action) for action in actions] for _ in range(warm_ups + rounds)]
    return list(zip(*timed[warm_ups:], strict=True))


def memory_now() -> int:
    """Return the resident memory of this process in bytes; on macOS, its peak."""
    return _status("VmRSS") or _peak_by_rusage()


def memory_peak() -> int:
    """Return the largest resident memory that this process had, in bytes.

    Linux reports it for the program itself; getrusage's number starts at that of the parent
    process.
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
    """Run a module in a separate process, and return the JSON object of its last output line.

    Args:
        what: the measurement, for the error.
        module: module to run by `python -P -m`, so that no module of the working directory, which
            may be a stranger's, is imported.
        words: arguments of the module.
        environment: environment of the process; None means this process's.
        quiet: whether standard error is kept for the error message instead of shown.

    Raises:
        MeasurementFailed: the process failed or printed something else.
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
        output = (done.stderr or "").strip()[-2000:] or "none"
        raise MeasurementFailed(
            f"{what}: the process ended with status {done.returncode} and no result (a negative "
            f"status is a signal; -9 often means that memory ran out); standard error: {output}"
        )
    return answer
