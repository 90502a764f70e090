"""Temporary files and folders next to their targets, locked by their owner as long as it lives.

    .NAME.<machine, 8 hex digits>-<random, 16 hex digits>.part      what is being written
                                                         .renames   see ancestral.files.renames
                                                         .old       what is being replaced

The system releases a lock when its process ends, however it ends: a temporary whose lock is free
was left by a process that was killed, and the next writer in that folder removes it (`sweep`).
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
"""Seconds after which a temporary of another machine is taken for abandoned.

Between machines a lock says little: some network file systems keep locks on one machine only.
"""


@dataclass(frozen=True, slots=True)
class Temporary:
    """A temporary that exists, and is locked where the file system has locks.

    Attributes:
        path: its name.
        handle: an open descriptor, which holds the lock.
    """

    path: Path
    handle: int


@contextlib.contextmanager
def temporary(target: Path, *, folder: bool = False) -> Iterator[Temporary]:
    """Create a temporary beside a target; its lock is held, and its name kept, up to the end.

    Args:
        target: what it will replace; its folder exists.
        folder: whether to make a folder, not a file.

    Raises:
        OSError: it cannot be created.
    """
    made = None
    while made is None:
        made = _create(temporary_name(target), folder)
    try:
        yield made
    finally:
        os.close(made.handle)


def temporary_name(target: Path, suffix: Suffix = "part") -> Path:
    """A new name beside a target."""
    return target.with_name(f".{target.name}.{_machine()}-{secrets.token_hex(8)}.{suffix}")


def target_of(name: str, suffix: Suffix = "part") -> str | None:
    """The name of the target that a temporary belongs to; None where it is not a temporary's."""
    match = _NAME.fullmatch(name)
    return None if match is None or match["suffix"] != suffix else match["target"]


def sweep(folder: Path, needed: Callable[[Path], bool]) -> None:
    """Remove what killed processes were writing in a folder.

    Kept are the temporaries of living processes, of other users, those that cannot be locked (on
    some network file systems), and for a day those of other machines. What cannot be removed stays,
    in silence: a writer does not fail because of what another one left.

    Args:
        folder: to look in.
        needed: whether a temporary whose owner has ended is to be kept all the same; called while
            it is locked.
    """
    for path in temporaries(folder, "part"):
        with abandoned(path) as found:
            if found and not needed(path):
                remove(path)


def temporaries(folder: Path, suffix: Suffix) -> list[Path]:
    """The temporaries in a folder, in use or not; none where it cannot be read."""
    try:
        names = os.listdir(folder)
    except OSError:
        return []
    # The end first: a folder may hold very many other files.
    ours = (name for name in names if name.endswith(f".{suffix}"))
    return [folder / name for name in sorted(ours) if target_of(name, suffix) is not None]


@contextlib.contextmanager
def abandoned(path: Path) -> Iterator[bool]:
    """Whether a temporary has no living owner; where it has none, it is locked meanwhile."""
    handle = None
    with contextlib.suppress(OSError):
        handle = _opened(path)
    try:
        yield handle is not None and _is_free(path, handle)
    finally:
        if handle is not None:
            os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that it holds; what cannot be removed stays."""
    with contextlib.suppress(OSError):
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def lock(handle: int) -> bool:
    """Try to lock an open file or folder, without waiting.

    Returns:
        whether it could be locked, or the file system has no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # no locks here: nobody sweeps it either
        return True
    return True


def _create(path: Path, folder: bool) -> Temporary | None:
    """Create and lock a temporary; None where a sweep came between the two."""
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
    # Nobody else draws that name. Inode numbers are not compared: some file systems change them.
    if lock(handle) and os.path.lexists(path):
        return Temporary(path, handle)
    os.close(handle)
    return None


def _opened(path: Path) -> int | None:
    """A descriptor of a temporary of this user's; None where it is something else."""
    status = path.lstat()
    if status.st_uid != os.geteuid():
        return None
    if stat.S_ISDIR(status.st_mode):
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if stat.S_ISREG(status.st_mode):
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    return None


def _is_free(path: Path, handle: int) -> bool:
    """Lock a temporary that another process made, if its owner has ended."""
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
    """Whether an open file or folder still has its name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(handle))
    except OSError:
        return False


def _machine() -> str:
    """Eight digits that tell machines apart."""
    return hashlib.sha256(os.fsencode(socket.gethostname())).hexdigest()[:8]
