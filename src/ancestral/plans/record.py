"""Folder of a compiled plan, which only the user may access, and the record in it.

A plan is executable code: only plans that ancestral wrote are loaded, from folders that no other
user can write to.
"""

import contextlib
import hashlib
import os
import time
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ancestral.bundles.hashes import cache_folder
from ancestral.bundles.manifest import seal
from ancestral.errors import PlanError
from ancestral.files.atomic import sha256, write_atomically
from ancestral.files.input_file import read_bounded
from ancestral.plans.key import PlanKey, Sha256
from ancestral.strict_json import Bounds, parse

PLAN, RECORD, LOG = "plan", "record.json", "build.log"
_BOUNDS = Bounds.of_size(2**20)
"""Bounds on a record's JSON."""


class PlanRecord(BaseModel):
    """Record that is stored with a plan.

    Attributes:
        key: key of the plan: its source and its target.
        plan_sha256: hash of the plan.
        size: size of the plan in bytes.
        seconds: duration of the build in seconds.
        built: time at the end of the build, in seconds since 1970.
        in_place: caches that the library appends to without a copy.
        sha256: hash of this record, as computed by `ancestral.bundles.manifest.seal`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: PlanKey
    plan_sha256: Sha256
    size: int = Field(ge=1)
    seconds: float = Field(ge=0)
    built: float
    in_place: tuple[str, ...] = ()
    sha256: str = ""


def open_folder(folder: Path | None, *inside: str) -> Path:
    """Return the folder of plans, which only the user may access; create it and folders in it.

    Args:
        folder: folder of plans; `None` is the one in the user's cache.
        inside: names of folders to create in it.

    Raises:
        PlanError: the user has no home folder, or the folder belongs to another user, is a link, is
            accessible to others, or cannot be created.
    """
    try:
        found = (cache_folder() / "plans" if folder is None else folder).absolute()
    except RuntimeError as error:
        raise PlanError(
            f"plans: no cache folder to store them in ({error}); set XDG_CACHE_HOME to an absolute "
            f"path"
        ) from error
    for each in (found, *(found / name for name in inside)):
        try:
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PlanError(
                f"{each}: cannot create a folder of plans ({error}); set XDG_CACHE_HOME to a "
                f"folder that you can write to"
            ) from error
        check_owner(found)
    return found


def check_owner(folder: Path) -> None:
    """Refuse a folder that another user could have written to.

    Raises:
        PlanError: the folder is missing, a link, another user's, or accessible to others.
    """
    try:
        status = folder.lstat()
    except OSError as error:
        raise PlanError(
            f"{folder}: the folder of plans cannot be read ({error.strerror or error}); check its "
            f"permissions, or compile the plan again"
        ) from None
    if folder.is_symlink() or not folder.is_dir():
        raise PlanError(f"{folder}: expected a folder of plans, got a link or a file; remove it")
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PlanError(
            f"{folder}: expected a folder that only you can access, since plans are executable "
            f"code, got mode {status.st_mode & 0o777:o} of user {status.st_uid}; if its plans are "
            f"yours: chmod 700 {folder}"
        )


def read_record(folder: Path) -> PlanRecord:
    """Return the record in a folder.

    Raises:
        PlanError: the record is missing, altered, or not one of this ancestral, or others can
            access the folder.
    """
    file = folder / RECORD
    again = removal(folder.name)
    check_owner(folder.parent)
    check_owner(folder)
    try:
        values = parse(read_bounded(file, _BOUNDS.size), _BOUNDS)
        record = PlanRecord.model_validate(values)
    except (OSError, ValueError) as error:
        reason = "from another version" if isinstance(error, ValidationError) else str(error)
        raise PlanError(f"{file}: not a valid record of a plan ({reason}); {again}") from error
    if seal(values) != record.sha256 or record.key.digest != folder.name:
        raise PlanError(
            f"{file}: altered, or of another plan (its SHA-256 does not match); {again}"
        )
    return record


def read_plan(folder: Path, record: PlanRecord) -> bytes:
    """Return the bytes of the plan in a folder, after comparing them with its record.

    Raises:
        PlanError: the plan is missing, or is not the one of the record.
    """
    check_owner(folder.parent)
    check_owner(folder)
    try:
        plan = (folder / PLAN).read_bytes()
    except OSError as error:
        raise PlanError(
            f"{folder / PLAN}: cannot be read ({error.strerror or error}); compile it again"
        ) from None
    with contextlib.suppress(OSError):
        os.utime(folder)
    wrong = ""
    if len(plan) != record.size:
        wrong = f"truncated (expected {record.size} bytes, got {len(plan)})"
    elif hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        wrong = "altered (its SHA-256 does not match the record)"
    if wrong:
        raise PlanError(f"{folder / PLAN}: {wrong}; {removal(folder.name)}")
    return plan


def removal(digest: str) -> str:
    """Return the advice for a damaged plan."""
    return f"remove it with `ancestral plans --remove {digest[:12]}`"


def write_record(key: PlanKey, work: Path, in_place: tuple[str, ...], seconds: float) -> PlanRecord:
    """Write the record of a plan that was compiled in a folder, and return it."""
    plan = work / PLAN
    plan.chmod(0o600)
    with plan.open("rb") as file:
        os.fsync(file.fileno())
    record = PlanRecord(
        key=key,
        plan_sha256=sha256(plan),
        size=plan.stat().st_size,
        seconds=round(seconds, 3),
        built=round(time.time(), 3),
        in_place=in_place,
    )
    record = record.model_copy(update={"sha256": seal(record.model_dump(mode="json"))})
    write_atomically(work / RECORD, record.model_dump_json(indent=1).encode())
    return record
