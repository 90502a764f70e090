"""A compiled plan's folder, which must belong to the user only, and the record in it.

A plan is code that runs: what is loaded is only what we wrote, where nobody else can write.
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
"""Bounds of a record's JSON."""


class PlanRecord(BaseModel):
    """The record that is stored with a plan.

    Attributes:
        key: what the plan was compiled from, and for.
        plan_sha256: of the plan.
        size: of the plan, in bytes.
        seconds: that its build took.
        built: when it was done, in seconds since 1970.
        in_place: caches that the library appends to without a copy.
        sha256: of this record, as `ancestral.bundles.manifest.seal` computes it.
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
    """The folder of plans and folders in it, which are the user's alone; made where there are none.

    Args:
        folder: of plans; the one in the user's cache where None.
        inside: names of folders in it.

    Raises:
        PlanError: the user has no home folder; the folder is another user's, a link, open to
            others, or cannot be made.
    """
    try:
        found = (cache_folder() / "plans" if folder is None else folder).absolute()
    except RuntimeError as error:
        raise PlanError(
            f"plans: expected a cache folder of yours to keep them in, found none ({error}): set "
            f"XDG_CACHE_HOME to an absolute path"
        ) from error
    for each in (found, *(found / name for name in inside)):
        try:
            each.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PlanError(
                f"{each}: expected a folder of plans, or a place to make one in ({error}): set "
                f"XDG_CACHE_HOME to a folder that you can write to"
            ) from error
        check_owner(found)
    return found


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


def read_record(folder: Path) -> PlanRecord:
    """The record in a folder.

    Raises:
        PlanError: it is none of ours.
    """
    file = folder / RECORD
    again = removal(folder.name)
    check_owner(folder.parent)
    check_owner(folder)
    try:
        values = parse(read_bounded(file, _BOUNDS.size), _BOUNDS)
        record = PlanRecord.model_validate(values)
    except (OSError, ValueError) as error:
        reason = "not of this version" if isinstance(error, ValidationError) else str(error)
        raise PlanError(f"{file}: no record of a plan of ours ({reason}): {again}") from error
    if seal(values) != record.sha256 or record.key.digest != folder.name:
        raise PlanError(f"{file}: altered, or of another plan: {again}")
    return record


def read_plan(folder: Path, record: PlanRecord) -> bytes:
    """The bytes of the plan in a folder, which are those that were written beside its record.

    Raises:
        PlanError: they are not, or it is gone.
    """
    check_owner(folder.parent)
    check_owner(folder)
    try:
        plan = (folder / PLAN).read_bytes()
    except OSError as error:
        raise PlanError(f"{folder / PLAN}: cannot be read ({error}): compile it again") from None
    with contextlib.suppress(OSError):
        os.utime(folder)
    wrong = ""
    if len(plan) != record.size:
        wrong = f"truncated: expected {record.size} bytes, got {len(plan)}"
    elif hashlib.sha256(plan).hexdigest() != record.plan_sha256:
        wrong = "altered: its SHA-256 is not the one of its record"
    if wrong:
        raise PlanError(f"{folder / PLAN}: {wrong}: {removal(folder.name)}")
    return plan


def removal(digest: str) -> str:
    """What to do about a plan that is damaged."""
    return f"remove it with `ancestral plans --remove {digest[:12]}`"


def write_record(key: PlanKey, work: Path, in_place: tuple[str, ...], seconds: float) -> PlanRecord:
    """The record of a plan that was made in a folder, written there."""
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
