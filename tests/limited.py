"""Bounds on memory and time, for files that are made to harm a reader."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 120
"""After these a child, or a call, counts as hanging."""
_BEGIN = """
import resource, sys
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + {extra}
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CPU, ({cpu}, {cpu}))
"""


def run_limited(imports: str, code: str, *arguments: object, extra: int = 200 * 2**20) -> str:
    """What a program prints; it must end without an error.

    Args:
        imports: run before the limits are set.
        code: run under them; it finds the arguments in sys.argv[1:].
        arguments: of the program.
        extra: bytes of address space that the code may have more than there are after the imports.
    """
    program = f"{imports}\n{_BEGIN.format(extra=extra, cpu=10)}\n{code}"
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
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
