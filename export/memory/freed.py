"""Return freed memory to the system."""

import contextlib
import ctypes


def give_back() -> None:
    """Make glibc return the free pages of its heap; with another C library, do nothing.

    This works around glibc's malloc (2.36): blocks of up to 32 MiB may come from the heap, and
    free() returns only the pages above the heap's highest live block. Without this call between
    the stages of an export, freed memory of one stage may stay with the process during the next.
    It can go when the allocator returns free pages below a live block.

    References:
        malloc_trim(3), mallopt(3), M_TRIM_THRESHOLD and M_MMAP_THRESHOLD.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
