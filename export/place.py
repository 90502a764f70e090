"""Where a bundle appears: whole or not at all, and in the place of nothing but another bundle."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ancestral.bundle import MANIFEST, PRIOR
from ancestral.errors import InvalidInput


@contextmanager
def placed(out: Path) -> Iterator[Path]:
    """A folder beside `out` to write a bundle into; it takes that name at the end.

    Raises:
        OSError: it could not be written; what was there before stays.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    work.chmod(0o777 & ~_umask())
    try:
        yield work
        _swap(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def check_target(out: Path, overwrite: bool) -> None:
    """Nothing but a bundle of ours is ever replaced.

    Raises:
        InvalidInput: there is something at that path that may not be replaced.
    """
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
    values = json.loads((bundle / MANIFEST).read_bytes())
    yield from (MANIFEST, *values["files"], values["weights"], values["known_answers"])
    if (bundle / PRIOR / MANIFEST).is_file():
        yield from (f"{PRIOR}/{name}" for name in _files_of(bundle / PRIOR))


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _swap(work: Path, out: Path) -> None:
    """Put the finished folder at its name; the one that was there goes last."""
    if not out.exists():
        work.rename(out)
        return
    old = work.with_name(work.name + ".old")
    out.rename(old)
    try:
        work.rename(out)
    except BaseException:
        if not out.exists():
            old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)
