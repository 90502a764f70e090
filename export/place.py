"""Where a bundle appears: whole or not at all, and in the place of nothing but another bundle."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ancestral.bundles.manifest import MANIFEST, PRIOR
from ancestral.bundles.manifest_file import read_values
from ancestral.errors import InvalidInput
from ancestral.files.atomic import tidy
from ancestral.files.renames import exchange, sync_folder
from ancestral.files.temporary import (
    abandoned,
    lock,
    remove,
    target_of,
    temporaries,
    temporary,
    temporary_name,
)


@contextmanager
def placed(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder beside `out` to write a bundle into; it takes that name at the end.

    What killed processes left in the folder of `out` is removed before.

    Args:
        out: where the bundle is to be.
        overwrite: whether it may replace another bundle.

    Raises:
        InvalidInput: what appeared at `out` in the meantime may not be replaced; it stays.
        OSError: it could not be written; what was there before stays.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    tidy(out.parent)
    with temporary(out, folder=True) as work:
        try:
            yield work.path
            check_target(out, overwrite)
            _swap(work.path, out)
        finally:
            remove(work.path)
    sync_folder(out.parent)


def check_target(out: Path, overwrite: bool) -> None:
    """Nothing but a bundle of ours is ever replaced.

    A bundle that was being replaced when a process was killed is first put back to its name.

    Raises:
        InvalidInput: there is something at that path that may not be replaced.
    """
    _put_back(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise InvalidInput(f"{out}: expected a new path or a bundle, got something else there")
    if not overwrite:
        raise InvalidInput(f"{out}: there is a bundle already; pass --overwrite to replace it")
    try:
        known = set(_files_of(out))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{out}: its {MANIFEST} is no bundle's, so nothing is replaced"
        ) from error
    files = (file for file in out.rglob("*") if not file.is_dir())
    foreign = sorted(str(name) for file in files if str(name := file.relative_to(out)) not in known)
    if foreign:
        raise InvalidInput(f"{out}: holds files that are no part of the bundle: {foreign}")


def _files_of(bundle: Path) -> Iterator[str]:
    """The files that belong to a bundle and to its prior's, by their paths in it."""
    values = read_values(bundle / MANIFEST)
    yield from (MANIFEST, *values["files"], values["weights"], values["known_answers"])
    if (bundle / PRIOR / MANIFEST).is_file():
        yield from (f"{PRIOR}/{name}" for name in _files_of(bundle / PRIOR))


def _swap(work: Path, out: Path) -> None:
    """Put the finished folder at its name; what was there has the name of the work then, or none.

    Where the system can exchange two names, there is a bundle at `out` at every moment. Elsewhere
    the old one is renamed first: a process that is killed then leaves it under another name, from
    which the next `check_target` puts it back.
    """
    if not out.exists():
        work.rename(out)
        return
    if exchange(work, out):
        return
    handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Locked, or another process would put it back.
        lock(handle)
        old = temporary_name(out, "old")
        out.rename(old)
        try:
            work.rename(out)
        except BaseException:
            if not out.exists():
                old.rename(out)
            raise
        remove(old)
    finally:
        os.close(handle)


def _put_back(out: Path) -> None:
    """Undo, or end, a replacement whose process was killed between two renames.

    Where something that is not a bundle has the name since, the old bundle stays where it is.
    """
    for old in temporaries(out.parent, "old"):
        if target_of(old.name, "old") != out.name:
            continue
        with abandoned(old) as found, contextlib.suppress(OSError):
            if found and not out.exists():
                old.rename(out)
            elif found and (out / MANIFEST).is_file():
                remove(old)
