"""Limits on memory and time, for tests of files that are built to harm their reader."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""Folder from which `tests` can be imported."""
MEMORY = 200 * 2**20
"""Bytes of address space that a child may add after the limits are set."""
CPU_SECONDS = 10
"""Seconds of processor time that a child may take."""
SECONDS = 120
"""Seconds after which a child, or a call, counts as hanging."""


def limit(memory: int = MEMORY, seconds: int | None = CPU_SECONDS) -> None:
    """Limit this process from now on.

    Args:
        memory: bytes of address space that the process may add.
        seconds: total seconds of processor time; None means no limit.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def run_limited(imports: str, code: str, *arguments: object, extra: int = MEMORY) -> str:
    """Run a program with limits, check that it ends without an error, and return its output.

    Args:
        imports: code that runs before the limits are set.
        code: code that runs after that; it has the arguments in sys.argv[1:].
        arguments: arguments of the program.
        extra: bytes of address space that the code may add after the imports.
    """
    program = f"import sys\nfrom tests.limited import limit\n{imports}\nlimit({extra})\n{code}"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return done.stdout


@contextmanager
def bounded() -> Iterator[None]:
    """Fail if the body takes too long, for example because it waits for the writer of a pipe."""

    def hangs(*_: object) -> None:
        raise AssertionError(f"the call did not return in {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
