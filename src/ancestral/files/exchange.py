"""Two names exchanged in one step, where the system can: nobody ever sees one of them missing."""

import ctypes
import errno
import os
import sys
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2
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
    before, after = os.fsencode(first), os.fsencode(second)
    arguments: tuple[int | bytes, ...] = (_AT_FDCWD, before, _AT_FDCWD, after, _RENAME_EXCHANGE)
    name = "renameat2"
    if sys.platform == "darwin":
        name, arguments = "renamex_np", (before, after, _RENAME_SWAP)
    if not hasattr(library, name):
        return False
    ctypes.set_errno(0)
    if getattr(library, name)(*arguments) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_HERE:
        return False
    raise OSError(number, os.strerror(number), str(first), None, str(second))
