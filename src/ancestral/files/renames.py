"""Rename several files together, even if the process is killed between two renames.

`exchange` swaps two names in one step if the system can, so that neither is ever missing.

A journal, `.NAME.<...>.renames`, lists the renames that remain. It is on disk before the first
rename and is removed after the last one. A journal whose lock is free was left by a killed process;
the next reader or writer of the folder finishes its renames.
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
"""Bounds on a journal, which normally has some hundred bytes."""
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_RENAME_SWAP = 2
_NOT_HERE = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM)


def rename_together(names: Mapping[Path, Path]) -> None:
    """Rename files of one folder so that in the end either none or all have their new names.

    Args:
        names: new name of each temporary (`ancestral.files.temporary`), in the order of renaming.

    Raises:
        OSError: the journal could not be written, and no file is renamed; or one file could not be
            renamed, and the others are.
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
            # For example Ctrl-C between two renames: finish, since some old files are replaced.
            _rename(last.parent, listed)
            raise
        finally:
            sync_folder(last.parent)
            journal.unlink(missing_ok=True)


def finish_renames(folder: Path) -> None:
    """Finish the renames of killed processes, but not those of running ones."""
    for journal in temporaries(folder, "renames"):
        with abandoned(journal) as found, contextlib.suppress(OSError, ValueError):
            if found:
                done = _rename(folder, _listed(journal))
                sync_folder(folder)
                if done:
                    journal.unlink()


def is_listed(work: Path) -> bool:
    """Return whether a journal lists a temporary, which is then whole and waits for its new name.

    The locks of a killed process are released one after the other. A temporary's lock may be free
    before its journal's lock is, or before another process has finished the journal.
    """
    for journal in temporaries(work.parent, "renames"):
        with contextlib.suppress(OSError, ValueError):
            if work.name in _listed(journal):
                return True
    return False


def exchange(first: Path, second: Path) -> bool:
    """Swap the names of two files or folders of one file system.

    References:
        Linux: renameat2(2), RENAME_EXCHANGE; macOS: renamex_np(2), RENAME_SWAP.

    Returns:
        Whether they were swapped; False if the system or the file system does not support it.

    Raises:
        OSError: the swap is supported but failed; nothing has changed then.
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
    """Flush the renames in a folder to disk, so that they survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _listed(journal: Path) -> dict[str, str]:
    """Return the new name of each temporary that a journal lists.

    Raises:
        OSError: the file cannot be read.
        ValueError: the file is not a journal, or lists a name that its temporary was not made for.
    """
    document = parse(read_bounded(journal, _BOUNDS.size), _BOUNDS)
    names = document.get("renames") if isinstance(document, dict) else None
    if not isinstance(names, dict):
        raise ValueError("not a journal")
    for work, name in names.items():
        if target_of(work) != name or "/" in work or name in (".", ".."):
            raise ValueError("not a journal")
    return names


def _rename(folder: Path, names: Mapping[str, str]) -> bool:
    """Rename the files that still have their old names; return whether all renames succeeded."""
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
