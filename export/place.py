"""Put a bundle in its place: completely or not at all, replacing nothing but another bundle."""

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
    """Yield a temporary folder next to `out` for a new bundle, and rename it to `out` at the end.

    Temporary files that killed processes left next to `out` are removed first.

    Args:
        out: directory of the new bundle.
        overwrite: whether the new bundle may replace another one.

    Raises:
        InvalidInput: something that may not be replaced has appeared at `out`; it is unchanged.
        OSError: the bundle could not be written; a bundle at `out` is unchanged.
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
    """Check that a bundle may be written to a path: nothing but a bundle is ever replaced.

    If a process was killed while it replaced a bundle, the old bundle is first put back.

    Args:
        out: directory of the new bundle.
        overwrite: whether the new bundle may replace another one.

    Raises:
        InvalidInput: something at that path may not be replaced.
    """
    _put_back(out)
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / MANIFEST).is_file():
        raise InvalidInput(f"{out}: exists and is not a bundle; choose another path")
    if not overwrite:
        raise InvalidInput(
            f"{out}: the bundle exists; pass --overwrite (overwrite=True in Python) to replace it"
        )
    try:
        known = set(_files_of(out))
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidInput(
            f"{out}: its {MANIFEST} is not a bundle's; choose another path"
        ) from error
    files = (file for file in out.rglob("*") if not file.is_dir())
    foreign = sorted(str(name) for file in files if str(name := file.relative_to(out)) not in known)
    if foreign:
        raise InvalidInput(
            f"{out}: has files that are not part of the bundle: {foreign}; move them elsewhere"
        )


def _files_of(bundle: Path) -> Iterator[str]:
    """Yield the paths of the files of a bundle and of its prior, relative to the bundle."""
    values = read_values(bundle / MANIFEST)
    yield from (MANIFEST, *values["files"], values["weights"], values["known_answers"])
    if (bundle / PRIOR / MANIFEST).is_file():
        yield from (f"{PRIOR}/{name}" for name in _files_of(bundle / PRIOR))


def _swap(work: Path, out: Path) -> None:
    """Rename the finished folder to `out`; an old bundle gets the name `work`, or is removed.

    If the system can exchange two names, there is a bundle at `out` at every moment. Otherwise the
    old bundle is renamed first. If the process is killed then, the next `check_target` puts the old
    bundle back.
    """
    if not out.exists():
        work.rename(out)
        return
    if exchange(work, out):
        return
    handle = os.open(out, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # Without the lock, another process would put it back.
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
    """Undo or finish a replacement whose process was killed between two renames.

    If something other than a bundle is at `out` by now, the old bundle stays where it is.
    """
    for old in temporaries(out.parent, "old"):
        if target_of(old.name, "old") != out.name:
            continue
        with abandoned(old) as found, contextlib.suppress(OSError):
            if found and not out.exists():
                old.rename(out)
            elif found and (out / MANIFEST).is_file():
                remove(old)
