"""Temporary files and folders next to their targets, locked while their process runs.

    .NAME.<machine, 8 hex digits>-<random, 16 hex digits>.part      new content being written
                                                         .renames   see ancestral.files.renames
                                                         .old       old content being replaced

The system releases a lock when its process ends, however it ends. A temporary whose lock is free
was left by a killed process, and the next writer in that folder removes it (`sweep`).
"""

import contextlib
import fcntl
import hashlib
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Suffix = Literal["part", "renames", "old"]
_NAME = re.compile(
    r"\.(?P<target>.+)\.(?P<machine>[0-9a-f]{8})-[0-9a-f]{16}\.(?P<suffix>part|renames|old)",
    re.DOTALL,
)
_DAY = 86400.0
"""Seconds after which a temporary of another machine counts as abandoned.

Its lock proves little: on some network file systems, locks apply only within one machine.
"""


@dataclass(frozen=True, slots=True)
class Temporary:
    """Temporary that exists, and is locked if the file system has locks.

    Attributes:
        path: path of the temporary.
        handle: open descriptor, which holds the lock.
    """

    path: Path
    handle: int


@contextlib.contextmanager
def temporary(target: Path, *, folder: bool = False) -> Iterator[Temporary]:
    """Create a temporary next to a target, and hold its lock until the context ends.

    Args:
        target: path that it will replace; its folder must exist.
        folder: whether to create a folder rather than a file.

    Raises:
        OSError: the temporary cannot be created.
    """
    made = None
    while made is None:
        made = _create(temporary_name(target), folder)
    try:
        yield made
    finally:
        os.close(made.handle)


def temporary_name(target: Path, suffix: Suffix = "part") -> Path:
    """Return a new path for a temporary, next to its target."""
    return target.with_name(f".{target.name}.{_machine()}-{secrets.token_hex(8)}.{suffix}")


def target_of(name: str, suffix: Suffix = "part") -> str | None:
    """Return the name of a temporary's target, or None if `name` is not that of a temporary."""
    match = _NAME.fullmatch(name)
    return None if match is None or match["suffix"] != suffix else match["target"]


def sweep(folder: Path, needed: Callable[[Path], bool]) -> None:
    """Remove the unfinished files of killed processes in a folder.

    It keeps temporaries of running processes and of other users, temporaries that cannot be locked
    (on some network file systems), and for a day those of other machines. Errors are ignored: a
    writer must not fail because of files that another one left.

    Args:
        folder: folder to clean.
        needed: function that returns whether to keep a temporary although its process has ended;
            called while the temporary is locked.
    """
    for path in temporaries(folder, "part"):
        with abandoned(path) as found:
            if found and not needed(path):
                remove(path)


def temporaries(folder: Path, suffix: Suffix) -> list[Path]:
    """List the temporaries in a folder, in use or not; empty if the folder cannot be read."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    # The suffix first, which is fast: a folder may have very many other files.
    ours = (name for name in names if name.endswith(f".{suffix}"))
    return [folder / name for name in sorted(ours) if target_of(name, suffix) is not None]


@contextlib.contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Yield whether the process of a temporary has ended; if so, it is locked meanwhile."""
    handle = None
    with contextlib.suppress(OSError):
        handle = _opened(path)
    try:
        yield handle is not None and _is_free(path, handle)
    finally:
        if handle is not None:
            os.close(handle)


def remove(path: Path) -> None:
    """Remove a file, or a folder with its content; errors are ignored."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def lock(handle: int) -> bool:
    """Try to lock an open file or folder without waiting.

    Returns:
        True if it is locked now, or if the file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # No locks on this file system; `sweep` removes nothing here either.
        return True
    return True


def _create(path: Path, folder: bool) -> Temporary | None:
    """Create and lock a temporary; return None if a sweep removed it in between."""
    if folder:
        path.mkdir()
        flags = os.O_RDONLY | os.O_DIRECTORY
    else:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        if folder:
            return None
        raise
    # The random name is unique, so inode numbers, which some file systems change, are not compared.
    if lock(handle) and os.path.lexists(path):
        return Temporary(path, handle)
    os.close(handle)
    return None


def _opened(path: Path) -> int | None:
    """Open a temporary of this user; return None for anything else."""
    status = path.lstat()
    if status.st_uid != os.geteuid():
        return None
    if stat.S_ISDIR(status.st_mode):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if stat.S_ISREG(status.st_mode):
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    return None


def _is_free(path: Path, handle: int) -> bool:
    """Try to lock a temporary of another process; succeeds only if that process has ended."""
    match = _NAME.fullmatch(path.name)
    if match is None:
        return False
    if match["machine"] != _machine() and time.time() - os.fstat(handle).st_mtime < _DAY:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return _is_at(path, handle)


def _is_at(path: Path, handle: int) -> bool:
    """Return whether an open file or folder still has this path."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except OSError:
        return False


def _machine() -> str:
    """Return eight hexadecimal digits that identify this machine."""
    return hashlib.sha256(os.fsencode(socket.gethostname())).hexdigest()[:8]
