"""Memory that was freed, given back to the system."""

import contextlib
import ctypes


def give_back() -> None:
    """Let the C library return what it keeps for later; one that cannot (not glibc) does nothing.

    Tensors of up to 32 MB come from a heap whose pages stay with the process after they are freed,
    as long as anything lives above them.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
