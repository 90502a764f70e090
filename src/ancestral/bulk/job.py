"""A job: everything that decides its rows, in the file job.json of its folder."""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, ValidationError

from ancestral.bulk.settings import Settings
from ancestral.bulk.store import Store
from ancestral.errors import InvalidInput
from ancestral.excerpts import cut, problems_of, report
from ancestral.signature import Record
from ancestral.strict_json import Bounds, parse

JOB = "job.json"
VERSION: Literal[1] = 1
MOST = 2**62
"""Most rows of a job."""
_BOUNDS = Bounds.of_size(2**26)
"""Bounds on job.json, which has a few hundred bytes for each file of data."""
_DIGITS = 12


class BundleName(Record):
    """The bundle of a job: its hash, which is that of its manifest, and where it was."""

    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    name: str
    path: str


class Runtime(Record):
    """How the rows are computed; bits depend on it.

    Attributes:
        backend: name of the backend.
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads of a process; None lets the runtime choose.
        dtype: type that `triton` computes in; None for the bundle's.
        batch_invariant: whether `triton` uses our own matrix product.
    """

    backend: str
    device: str
    threads: int | None = Field(ge=1)
    dtype: str | None = None
    batch_invariant: bool = False


class DataFile(Record):
    """A file of data.

    Attributes:
        path: absolute path, or URL without credentials.
        size: size in bytes.
        changed_ns: time of the last change, in nanoseconds.
        sha256: hash of its content; None for an object store, where size and time identify it.
        rows: number of its rows.
    """

    path: str
    size: int = Field(ge=0)
    changed_ns: int
    sha256: str | None
    rows: int = Field(ge=0)

    @property
    def identity(self) -> dict[str, Any]:
        """What the digest of a job has of the file."""
        seen = {} if self.sha256 else {"changed_ns": self.changed_ns}
        return {"sha256": self.sha256, "size": self.size, "rows": self.rows, **seen}


class Job(Record):
    """A job.

    Attributes:
        version: version of the format of job.json and of the parts.
        settings: kind of work and its settings.
        bundle: the bundle.
        n: number of rows. It may grow.
        earlier: smaller numbers of rows that the job had before.
        rows: rows of a batch. A batch of samples always has so many, padded if fewer are needed,
            so that bits do not depend on `n`.
        part_size: rows of a part, a multiple of `rows`.
        runtime: backend, device and threads.
        data: files of data, in the order of their rows.
        versions: versions of the packages that made the job.
    """

    version: Literal[1] = VERSION
    settings: Settings
    bundle: BundleName
    n: int = Field(ge=0, le=MOST)
    earlier: tuple[int, ...] = ()
    rows: int = Field(ge=1, lt=2**32)
    part_size: int = Field(ge=1, lt=2**40)
    runtime: Runtime
    data: tuple[DataFile, ...] = ()
    versions: dict[str, str] = Field(default_factory=dict)

    @property
    def identity(self) -> dict[str, Any]:
        """All that makes two jobs different: no number of rows, path, name or version."""
        return {
            "version": self.version,
            "settings": self.settings.model_dump(mode="python"),
            "bundle": self.bundle.sha256,
            "rows": self.rows,
            "part_size": self.part_size,
            "runtime": self.runtime.model_dump(mode="python"),
            "data": [file.identity for file in self.data],
        }

    @property
    def digest(self) -> str:
        """First 12 hexadecimal digits of the SHA-256 of the identity."""
        text = json.dumps(self.identity, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

    def extended(self, n: int) -> "Job":
        """Return the job with at least n rows."""
        if n <= self.n:
            return self
        earlier = tuple(sorted({*self.earlier, self.n}))
        return self.model_copy(update={"n": n, "earlier": earlier})

    def to_json(self) -> bytes:
        """Return the content of job.json."""
        return (json.dumps(self.model_dump(mode="python"), indent=2) + "\n").encode()


def read_job(store: Store) -> Job | None:
    """Return the job of a folder; None if it has no job.json.

    Raises:
        InvalidInput: job.json is damaged, or of a newer version.
        OSError: it cannot be read.
    """
    content = store.read(JOB)
    if content is None:
        return None
    place = store.shown(JOB)
    try:
        values = parse(content, _BOUNDS)
        version = values.get("version") if isinstance(values, dict) else None
        if isinstance(version, int) and version > VERSION:
            raise InvalidInput(
                f"{place}: expected version {VERSION}, got {version}; a newer ancestral wrote "
                f"this job: pip install --upgrade ancestral"
            )
        return Job.model_validate(values)
    except ValidationError as error:
        raise InvalidInput(
            report(f"{place}: not a job; delete it, or give another --out", problems_of(error))
        ) from error
    except InvalidInput:
        raise
    except ValueError as error:
        raise InvalidInput(
            f"{place}: not the JSON of a job ({error}); delete it, or give another --out"
        ) from error


def require_job(store: Store) -> Job:
    """Return the job of a folder.

    Raises:
        InvalidInput: the folder has no job.json, or it is damaged.
    """
    job = read_job(store)
    if job is None:
        raise InvalidInput(
            f"{store.shown(JOB)}: no such file; give the folder that `ancestral bulk` wrote"
        )
    return job


def check_same(found: Job, wanted: Job, store: Store) -> None:
    """Refuse to add the parts of one job to the folder of another.

    Args:
        found: the job of the folder.
        wanted: the job that was asked for.
        store: the folder.

    Raises:
        InvalidInput: the jobs differ; the message says in what.
    """
    pairs = _differences(found.identity, wanted.identity)
    kind = "settings.kind"
    if any(line.startswith(kind) for line in pairs):
        # The settings of another kind have nothing to compare.
        pairs = [line for line in pairs if line.startswith((kind, "bundle:"))]
    if pairs:
        what = f"{store.shown(JOB)}: another job is in this folder; give another --out"
        raise InvalidInput(report(what, pairs))


def _differences(found: Any, wanted: Any, place: str = "") -> list[str]:
    """Return a line for each value that differs."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        names = list(dict.fromkeys((*found, *wanted)))
        return [
            line
            for name in names
            for line in _differences(
                found.get(name), wanted.get(name), f"{place}.{name}" if place else name
            )
        ]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pairs = enumerate(zip(found, wanted, strict=True))
        return [line for i, two in pairs for line in _differences(*two, f"{place}[{i}]")]
    if found == wanted:
        return []
    return [f"{place}: the folder has {_short(found)}, this command {_short(wanted)}"]


def _short(value: Any) -> str:
    return cut(json.dumps(value), 80)
