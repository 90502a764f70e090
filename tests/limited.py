"""Bounds on memory and time, for files that are made to harm a reader."""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
"""Where `tests` can be imported from."""
MEMORY = 200 * 2**20
"""Bytes of address space that a child may take beside what it has when the limits are set."""
CPU_SECONDS = 10
"""Of processor time that it may take."""
SECONDS = 120
"""After these a child, or a call, counts as hanging."""


def limit(memory: int = MEMORY, seconds: int | None = CPU_SECONDS) -> None:
    """Bound this process from now on.

    Args:
        memory: bytes of address space above what it has now.
        seconds: of processor time in all; no bound where None.
    """
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    size = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    if seconds is not None:
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))


def run_limited(imports: str, code: str, *arguments: object, extra: int = MEMORY) -> str:
    """What a program prints; it must end without an error.

    Args:
        imports: run before the limits are set.
        code: run under them; it finds the arguments in sys.argv[1:].
        arguments: of the program.
        extra: bytes of address space that the code may have more than there are after the imports.
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
    """What waits for ever, for the writer of a pipe say, fails, and the tests go on."""

    def hangs(*_: object) -> None:
        raise AssertionError(f"nothing came back in {SECONDS} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
