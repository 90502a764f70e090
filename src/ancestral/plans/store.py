"""Store of compiled plans, in a folder that only the user can access.

A plan is executable code. It is loaded only if its SHA-256 is in the record that was written with
it, in a folder that no other user can read or write. Each plan has its own folder, which appears
complete by a single rename:

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
"""Default limit on the bytes of all plans; the least recently used are removed first."""


class PlanStore:
    """Compiled plans of this user."""

    def __init__(self, folder: Path | None = None, limit: int = LIMIT) -> None:
        """Open the store, and create its folder if it does not exist.

        Args:
            folder: folder of the plans; `None` is the one in the user's cache.
            limit: most bytes that all plans together may take.

        Raises:
            PlanError: the folder belongs to another user, is a link, is accessible to others, or
                cannot be created.
        """
        self.folder, self.limit = open_folder(folder, _LOCKS), limit

    def find(self, key: PlanKey) -> PlanRecord | None:
        """Return the record of the plan with exactly this key, or None; the whole plan is checked.

        Raises:
            PlanError: the plan exists but is altered, truncated or has no valid record.
        """
        if not (self.folder / key.digest).exists():
            return None
        record = read_record(self.folder / key.digest)
        self.read(record)
        return record

    def read(self, record: PlanRecord) -> bytes:
        """Return the bytes of a plan, after comparing them with its record.

        Raises:
            PlanError: the plan is missing, or is not the one of the record.
        """
        return read_plan(self.folder / record.key.digest, record)

    def build(
        self,
        key: PlanKey,
        make: Callable[[Path], tuple[str, ...]],
        waiting: Callable[[], None] = lambda: None,
    ) -> tuple[PlanRecord, bool]:
        """Return the plan of a key, compiling it if it is not stored.

        If several processes need the same plan, one compiles it and the others wait. A damaged plan
        is replaced. A process that is killed leaves the store unchanged.

        Args:
            key: key of the plan.
            make: function that writes `plan` and `build.log` into a folder, and returns the caches
                that are appended in place.
            waiting: function that is called once if another process is compiling the plan.

        Returns:
            The record, and whether the plan was compiled by this call.

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
        """Return the valid records, latest use first, and the problems of the others.

        The plans themselves are checked when they are read, not here.
        """
        found, problems = [], []
        for folder in sorted(self._folders(), key=lambda each: -each.stat().st_mtime):
            try:
                found.append(read_record(folder))
            except PlanError as error:
                problems.append(str(error))
        return found, problems

    def modules(self, weights_sha256: str) -> set[Module]:
        """Return the modules that compiled the stored plans with these weights."""
        keys = [record.key for record in self.records()[0]]
        return {key.module for key in keys if key.weights_sha256 == weights_sha256}

    def problem(self, record: PlanRecord) -> str:
        """Return the problem of a plan as a sentence, empty if it is valid."""
        try:
            self.read(record)
        except PlanError as error:
            return str(error)
        return ""

    def missed(self, key: PlanKey) -> str:
        """Describe how the nearest stored plan of the same graph differs from this key.

        Empty if the plan of this key is stored, or no plan of the graph is.
        """
        others = (key.changed(record.key) for record in self.records()[0])
        model = {"graph_sha256", "weights_sha256"}
        alike = [each for each in others if "graph" not in each and not model <= set(each)]
        return "; ".join(min(alike, key=len, default={}).values())

    def remove(self, prefix: str) -> list[str]:
        """Remove the plans whose digest begins with `prefix`, including damaged ones.

        Returns:
            The digests of the removed plans.
        """
        names = [each.name for each in self._folders() if each.name.startswith(prefix)]
        for name in names:
            with self._locked(name, lambda: None):
                shutil.rmtree(self.folder / name, ignore_errors=True)
        return names

    def _folders(self) -> Iterator[Path]:
        """Yield the folders of plans, without those of unfinished builds."""
        for folder in self.folder.iterdir():
            if folder.is_dir() and folder.name != _LOCKS and not folder.name.startswith("."):
                yield folder

    def _sweep(self, digest: str) -> None:
        """Remove leftovers of killed builds: of this key, whose lock is held, and of free keys."""
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
        """Hold the lock of a key, which the system releases when the process ends, however it ends.

        Args:
            digest: digest of the key.
            waiting: function that is called once if another process holds the lock, before waiting
                for it; with `None` the call does not wait.

        Raises:
            BlockingIOError: another process holds the lock, and `waiting` is `None`.
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
        """Remove the least recently used plans until the rest fits the limit."""
        records, _ = self.records()
        total = 0
        for record in records:
            total += record.size
            if total > self.limit and record.key.digest != keep:
                self.remove(record.key.digest)
