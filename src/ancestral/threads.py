"""How many threads a runtime may be given."""

import os

from ancestral.errors import InvalidInput
from ancestral.scalars import whole

A_CORE = 4
"""Threads for each core of the machine at most: more only wait for each other."""


def check_threads(value: object, name: str = "threads") -> int:
    """A number of threads, at least 1 and at most `A_CORE` times the cores of this machine.

    Args:
        value: the number.
        name: of the argument or option, for messages.

    Raises:
        InvalidInput: it is not.
    """
    cores = os.cpu_count() or 1
    try:
        return whole(name, value, 1, A_CORE * cores)
    except InvalidInput as error:
        raise InvalidInput(
            f"{error}: this machine has {cores} cores, and at most {A_CORE} threads for each are "
            f"of use; leave it out, and the runtime chooses"
        ) from error
