"""Two names exchanged in one step, where the system can: nobody ever sees one of them missing."""

import ctypes
import errno
import os
import platform
import sys
from pathlib import Path
from typing import Any

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2
_SYSCALLS = {"x86_64": 316, "aarch64": 276, "riscv64": 276, "ppc64le": 357, "s390x": 347}
"""Numbers of renameat2 by processor, for C libraries that have no function of that name."""
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def exchange(first: Path, second: Path) -> bool:
    """Exchange the names of two files or folders of one file system.

    References:
        Linux: renameat2(2), RENAME_EXCHANGE; macOS: renamex_np(2), RENAME_SWAP.

    Returns:
        False where the system or the file system cannot; nothing has changed then.

    Raises:
        OSError: it can, and failed; nothing has changed then.
    """
    library = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    status = _call(library, os.fsencode(first), os.fsencode(second))
    if status is None:
        return False
    if status == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))


def _call(library: Any, first: bytes, second: bytes) -> int | None:
    """The status of the system's call; None where there is no such call."""
    if sys.platform == "darwin":
        if not hasattr(library, "renamex_np"):
            return None
        return int(library.renamex_np(first, second, ctypes.c_uint(_RENAME_SWAP)))
    names = (ctypes.c_int(_AT_FDCWD), first, ctypes.c_int(_AT_FDCWD), second)
    flags = ctypes.c_uint(_RENAME_EXCHANGE)
    if hasattr(library, "renameat2"):
        return int(library.renameat2(*names, flags))
    number = _SYSCALLS.get(platform.machine())
    if sys.platform != "linux" or number is None:
        return None
    return int(library.syscall(ctypes.c_long(number), *names, flags))
