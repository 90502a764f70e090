"""Compiled plans, kept in a folder that is the user's alone.

A plan is executable code: one is loaded only if its SHA-256 stands in a record that was written
beside it, in a folder that nobody else can write to or read. Each has a folder of its own, which
appears whole by one rename:

    plans/<digest of the key>/{plan, record.json, build.log}
    plans/locks/<digest of the key>
"""

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ancestral.bundles.manifest import seal
from ancestral.errors import PlanError
from ancestral.files.atomic import sha256, write_atomically
from ancestral.files.input_file import read_bounded
from ancestral.files.renames import sync_folder
from ancestral.plans.folder import check_owner, default_folder, make_folder
from ancestral.plans.key import PlanKey, Sha256
from ancestral.plans.modules import Module
from ancestral.strict_json import Bounds, parse

PLAN, RECORD, LOG = "plan", "record.json", "build.log"
_LOCKS = "locks"
_BOUNDS = Bounds.of_size(2**20)
"""Of a record."""
LIMIT = 32 * 2**30
"""Bytes that all plans together may take; those that were used longest ago go first."""


class PlanRecord(BaseModel):
    """What stands beside a plan.

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


class PlanStore:
    """The plans of this user."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        """Open the store; its folder is made where there is none.

        Args:
            folder: of the plans; the one in the user's cache where None.
            limit: bytes that all plans together may take.

        Raises:
            PlanError: the folder is another user's, a link, open to others, or cannot be made.
        """
        self.folder = (default_folder() if folder is None else folder).absolute()
        self.limit = limit
        make_folder(self.folder)
        check_owner(self.folder)
        make_folder(self.folder / _LOCKS)

    def find(self, key: PlanKey) -> PlanRecord | None:
        """The record of the plan of exactly this key, checked to the last byte; None without one.

        Raises:
            PlanError: there is one, and it is altered, truncated or not ours.
        """
        if not (self.folder / key.digest).exists():
            return None
        record = self._record(self.folder / key.digest)
        self.read(record)
        return record

    def read(self, record: PlanRecord) -> bytes:
        """The bytes of a plan, which are those that were written beside its record.

        Raises:
            PlanError: they are not, or it is gone.
        """
        folder = self.folder / record.key.digest
        check_owner(self.folder)
        check_owner(folder)
        try:
            plan = (folder / PLAN).read_bytes()
        except OSError as error:
            raise PlanError(
                f"{folder / PLAN}: cannot be read ({error}): compile it again"
            ) from None
        with contextlib.suppress(OSError):
            os.utime(folder)
        wrong = ""
        if len(plan) != record.size:
            wrong = f"truncated: expected {record.size} bytes, got {len(plan)}"
        elif hashlib.sha256(plan).hexdigest() != record.plan_sha256:
            wrong = "altered: its SHA-256 is not the one of its record"
        if wrong:
            raise PlanError(f"{folder / PLAN}: {wrong}: {removal(record.key.digest)}")
        return plan

    def build(
        self,
        key: PlanKey,
        make: Callable[[Path], tuple[str, ...]],
        waiting: Callable[[], None] = lambda: None,
    ) -> tuple[PlanRecord, bool]:
        """The plan of a key: the one that is there, or one that is made now.

        However many processes ask at once, one makes it and the others wait for that. A damaged
        plan is replaced. A process that is killed leaves the store as it was.

        Args:
            key: of the plan.
            make: writes `plan` and `build.log` into the folder that it is given, and returns which
                caches are appended in place.
            waiting: told once, if another process is at it.

        Returns:
            the record, and whether it was made now.

        Raises:
            OSError: the store cannot be written.
        """
        with self._locked(key.digest, waiting):
            with contextlib.suppress(PlanError):
                found = self.find(key)
                if found is not None:
                    return found, False
            self._sweep(key.digest)
            work = self.folder / f".{key.digest}.{secrets.token_hex(8)}"
            work.mkdir(mode=0o700)
            try:
                start = time.monotonic()
                in_place = make(work)
                record = _recorded(key, work, in_place, time.monotonic() - start)
                shutil.rmtree(self.folder / key.digest, ignore_errors=True)
                work.rename(self.folder / key.digest)
            finally:
                shutil.rmtree(work, ignore_errors=True)
            sync_folder(self.folder)
        self._shrink(keep=key.digest)
        return record, True

    def records(self) -> tuple[list[PlanRecord], list[str]]:
        """The records of all plans, latest use first; and what is wrong with what is none of ours.

        Plans themselves are checked when they are read, not here.
        """
        found, problems = [], []
        for folder in sorted(self._folders(), key=lambda each: -each.stat().st_mtime):
            try:
                found.append(self._record(folder))
            except PlanError as error:
                problems.append(str(error))
        return found, problems

    def modules(self, weights_sha256: str) -> set[Module]:
        """The libraries by which plans with weights of that hash were compiled."""
        keys = [record.key for record in self.records()[0]]
        return {key.module for key in keys if key.weights_sha256 == weights_sha256}

    def problem(self, record: PlanRecord) -> str:
        """What is wrong with a plan, in words; empty where it is sound."""
        try:
            self.read(record)
        except PlanError as error:
            return str(error)
        return ""

    def missed(self, key: PlanKey) -> str:
        """Why no plan of this key is there, in words: what the nearest one of the graph has else.

        Empty where the plan is there, or none of the graph ever was.
        """
        others = (key.changed(record.key) for record in self.records()[0])
        model = {"graph_sha256", "weights_sha256"}
        alike = [each for each in others if "graph" not in each and not model <= set(each)]
        return "; ".join(min(alike, key=len, default={}).values())

    def remove(self, prefix: str) -> list[str]:
        """Remove the plans whose digest begins so, damaged ones too.

        Returns:
            the digests of what was removed.
        """
        names = [each.name for each in self._folders() if each.name.startswith(prefix)]
        for name in names:
            with self._locked(name, lambda: None):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        return names

    def _record(self, folder: Path) -> PlanRecord:
        """The record in a folder.

        Raises:
            PlanError: it is none of ours.
        """
        file = folder / RECORD
        again = removal(folder.name)
        check_owner(self.folder)
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

    def _folders(self) -> Iterator[Path]:
        """The folders of plans, those of builds that are under way left out."""
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name != _LOCKS and not folder.name.startswith("."):
                yield folder

    def _sweep(self, digest: str) -> None:
        """Remove what killed builds left: those of a key that is locked here, and of free ones."""
        for leftover in self.folder.glob(".*.*"):
            owner = leftover.name.split(".")[1]
            if owner == digest:
                shutil.rmtree(leftover, ignore_errors=True)
                continue
            if not (self.folder / _LOCKS / owner).is_file():
                continue
            with contextlib.suppress(BlockingIOError), self._locked(owner):
                shutil.rmtree(leftover, ignore_errors=True)

    @contextlib.contextmanager
    def _locked(self, digest: str, waiting: Callable[[], None] | None = None) -> Iterator[None]:
        """Hold the lock of a key, which the system lets go when a process ends, however it ends.

        Args:
            digest: of the key.
            waiting: told once, if another process holds it; without it nobody waits.

        Raises:
            BlockingIOError: another process holds it, and nobody waits.
        """
        handle = os.open(
            self.folder / _LOCKS / digest, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600
        )
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if waiting is None:
                    raise
                waiting()
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _shrink(self, keep: str) -> None:
        """Remove what was used longest ago, until the rest fits."""
        records, _ = self.records()
        total = 0
        for record in records:
            total += record.size
            if total > self.limit and record.key.digest != keep:
                self.remove(record.key.digest)


def removal(digest: str) -> str:
    """What to do about a plan that is damaged."""
    return f"remove it with `ancestral plans --remove {digest[:12]}`"


def _recorded(key: PlanKey, work: Path, in_place: tuple[str, ...], seconds: float) -> PlanRecord:
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
