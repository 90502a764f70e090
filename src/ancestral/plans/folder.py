"""The folder of compiled plans, which are code that runs: it is the user's alone, or refused."""

import os
from pathlib import Path

from ancestral.bundles.hashes import cache_folder
from ancestral.errors import PlanError


def default_folder() -> Path:
    """The folder of plans in the user's cache.

    Raises:
        PlanError: the user has no home folder.
    """
    try:
        return cache_folder() / "plans"
    except RuntimeError as error:
        raise PlanError(
            f"plans: expected a cache folder of yours to keep them in, found none ({error}): set "
            f"XDG_CACHE_HOME to an absolute path"
        ) from error


def make_folder(folder: Path) -> None:
    """Make a folder that is the user's alone, where there is none.

    Raises:
        PlanError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise PlanError(
            f"{folder}: expected a folder of plans, or a place to make one in ({error}): set "
            f"XDG_CACHE_HOME to a folder that you can write to"
        ) from error


def check_owner(folder: Path) -> None:
    """Refuse a folder that somebody else could have written to.

    Raises:
        PlanError: it is missing, a link, another user's, or open to others.
    """
    try:
        status = folder.lstat()
    except OSError as error:
        raise PlanError(f"{folder}: expected a folder of plans, got none ({error})") from None
    if folder.is_symlink() or not folder.is_dir():
        raise PlanError(f"{folder}: expected a folder of plans, got a link or a file")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PlanError(
            f"{folder}: plans are code that runs: expected a folder that is yours alone, got mode "
            f"{status.st_mode & 0o777:o} of user {status.st_uid}: if its plans are yours, "
            f"chmod 700 {folder}"
        )
