"""How many threads a runtime may be given."""

import os

from ancestral.errors import InvalidInput
from ancestral.scalars import whole

A_CORE = 4
"""Threads for each core of the machine at most: more only wait for each other."""


def check_threads(value: object) -> int:
    """A number of threads, at least 1 and at most `A_CORE` times the cores of this machine.

    Raises:
        InvalidInput: it is not.
    """
    cores = os.cpu_count() or 1
    found = whole("threads", value, 1, 2**31 - 1)
    if found > A_CORE * cores:
        raise InvalidInput(
            f"threads: expected an integer in 1 .. {A_CORE * cores}, {A_CORE} times the {cores} "
            f"cores of this machine, got {found}: leave it out, and the runtime chooses"
        )
    return found
