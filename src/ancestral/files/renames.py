"""Several files that take their names together, even where the process is killed between two.

Two names are exchanged in one step where the system can: nobody ever sees one of them missing.

A journal, `.NAME.<...>.renames`, lists what is still to be renamed. It is on disk before the first
file takes its name and goes after the last. A journal whose lock is free is what a killed process
left: whoever next reads or writes there finishes its renames.
"""

import contextlib
import ctypes
import errno
import json
import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from ancestral.files.input_file import read_bounded
from ancestral.files.temporary import abandoned, target_of, temporaries, temporary, temporary_name
from ancestral.strict_json import Bounds, parse

_BOUNDS = Bounds.of_size(2**20)
"""Of a journal; ours have some hundred bytes."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def rename_together(names: Mapping[Path, Path]) -> None:
    """Rename files of one folder so that either none or all have their new names.

    Args:
        names: by temporary (`ancestral.files.temporary`), the name that it takes; in this order.

    Raises:
        OSError: the journal could not be written, and nothing is renamed; or a name could not be
            taken, and the others are.
    """
    last = list(names.values())[-1]
    journal = temporary_name(last, "renames")
    listed = {each.name: path.name for each, path in names.items()}
    with temporary(last) as work:
        try:
            with os.fdopen(work.handle, "wb", closefd=False) as file:
                file.write(json.dumps({"renames": listed}).encode())
            os.fsync(work.handle)
            os.replace(work.path, journal)
        except BaseException:
            work.path.unlink(missing_ok=True)
            raise
        try:
            sync_folder(last.parent)
            for each, path in names.items():
                os.replace(each, path)
        except BaseException:
            # Ctrl-C between two: forward, since what was there before is replaced in part.
            _rename(last.parent, listed)
            raise
        finally:
            sync_folder(last.parent)
            journal.unlink(missing_ok=True)


def finish_renames(folder: Path) -> None:
    """Finish the renames of processes that were killed; those of living ones are left to them."""
    for journal in temporaries(folder, "renames"):
        with abandoned(journal) as found, contextlib.suppress(OSError, ValueError):
            if found:
                done = _rename(folder, _listed(journal))
                sync_folder(folder)
                if done:
                    journal.unlink()


def is_listed(work: Path) -> bool:
    """Whether a journal lists a temporary, which is then whole and waits for its name.

    The locks of a process that is killed are released one after the other: that of a temporary may
    be free before that of its journal is, or before another process has finished the journal.
    """
    for journal in temporaries(work.parent, "renames"):
        with contextlib.suppress(OSError, ValueError):
            if work.name in _listed(journal):
                return True
    return False


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


def sync_folder(folder: Path) -> None:
    """Make the renames in a folder last through a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _listed(journal: Path) -> dict[str, str]:
    """What a journal lists: temporaries with the names that they were made for, nothing else.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not a journal.
    """
    document = parse(read_bounded(journal, _BOUNDS.size), _BOUNDS)
    names = document.get("renames") if isinstance(document, dict) else None
    if not isinstance(names, dict):
        raise ValueError("no journal")
    for work, name in names.items():
        if target_of(work) != name or "/" in work or name in (".", ".."):
            raise ValueError("no journal")
    return names


def _rename(folder: Path, names: Mapping[str, str]) -> bool:
    """Rename the files that are still to be renamed; whether none of them is left."""
    done = True
    for work, name in names.items():
        try:
            if stat.S_ISREG((folder / work).lstat().st_mode):
                os.replace(folder / work, folder / name)
        except FileNotFoundError:
            continue
        except OSError:
            done = False
    return done
