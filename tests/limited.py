"""A child process whose memory and time are bounded, for files that are made to harm a reader."""

import os
import subprocess
import sys

SECONDS = 60
"""After these a child counts as hanging."""
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
