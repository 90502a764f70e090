"""Compiled plans, kept in a folder that is the user's alone.

A plan is executable code: one is loaded only if its SHA-256 stands in a record that was written
beside it, in a folder that nobody else can write to or read. Each has a folder of its own, which
appears whole by one rename:

    plans/<digest of the key>/{plan, record.json, build.log}
    plans/locks/<digest of the key>
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ancestral.errors import PlanError
from ancestral.files.renames import sync_folder
from ancestral.plans.key import PlanKey
from ancestral.plans.modules import Module
from ancestral.plans.record import PlanRecord, open_folder, read_plan, read_record, write_record

_LOCKS = "locks"
LIMIT = 32 * 2**30
"""Bytes that all plans together may take; those that were used longest ago go first."""


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
        self.folder, self.limit = open_folder(folder, _LOCKS), limit

    def find(self, key: PlanKey) -> PlanRecord | None:
        """The record of the plan of exactly this key, checked to the last byte; None without one.

        Raises:
            PlanError: there is one, and it is altered, truncated or not ours.
        """
        if not (self.folder / key.digest).exists():
            return None
        record = read_record(self.folder / key.digest)
        self.read(record)
        return record

    def read(self, record: PlanRecord) -> bytes:
        """The bytes of a plan, which are those that were written beside its record.

        Raises:
            PlanError: they are not, or it is gone.
        """
        return read_plan(self.folder / record.key.digest, record)

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
                record = write_record(key, work, in_place, time.monotonic() - start)
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
                found.append(read_record(folder))
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
            waiting: called once if another process holds it; without it the call does not wait.

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
