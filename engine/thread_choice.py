"""Numbers of threads that were measured, kept in the user's cache: one file for each key.

The cache only saves time: a file that is missing, damaged or of another key is ignored, and so is a
folder that cannot be written.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ancestral.bundles.hashes import cache_folder
from ancestral.errors import InvalidInput
from ancestral.files.atomic import write_atomically
from ancestral.files.input_file import read_bounded
from ancestral.processor import physical_cores, processor_name
from ancestral.strict_json import Bounds, parse

_LIMIT = 1024
"""Most choices in the cache; the oldest are removed first."""
_BOUNDS = Bounds(size=2**16, values=2**12, keys=2**12, depth=4)
"""Bounds on the file of one choice."""


@dataclass(frozen=True, slots=True)
class ThreadKey:
    """All that the fastest number of threads depends on.

    Attributes:
        bundle: SHA-256 of the bundle's manifest, which has the hash of every file.
        batch: rows of a step.
        processor: model name of the processor.
        cores: cores that the process may use.
        runtime: name and version of the runtime.
    """

    bundle: str
    batch: int
    processor: str
    cores: int
    runtime: str

    @classmethod
    def here(cls, bundle: str, batch: int, runtime: str) -> "ThreadKey":
        """Return the key of a bundle and a batch on this machine."""
        return cls(bundle, batch, processor_name(), physical_cores(), runtime)

    @property
    def digest(self) -> str:
        """SHA-256 of the fields, which names the file."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ThreadChoice:
    """A number of threads, and the times that it was chosen by.

    Attributes:
        key: what it was measured for.
        threads: number of threads of the runtime.
        step_ms: median time of a step with each number of threads that was tried, in milliseconds.
    """

    key: ThreadKey
    threads: int
    step_ms: Mapping[int, float]

    def to_json(self) -> dict[str, Any]:
        """Return all fields as plain values, those of the key first."""
        times = {str(count): time for count, time in self.step_ms.items()}
        return asdict(self.key) | {"threads": self.threads, "step_ms": times}

    @classmethod
    def from_json(cls, values: Any) -> "ThreadChoice":
        """Return the choice with these fields.

        Raises:
            ValueError: fields are missing or wrong.
        """
        try:
            threads, step_ms = values.pop("threads"), values.pop("step_ms")
            times = {int(count): float(time) for count, time in step_ms.items()}
            key = ThreadKey(**values)
        except (AttributeError, KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"not a choice of threads: {error}") from error
        plain = [type(getattr(key, name)) for name in ("bundle", "batch", "processor", "cores")]
        if plain != [str, int, str, int] or not isinstance(key.runtime, str):
            raise ValueError("not a choice of threads: a field of the key has another type")
        sound = all(math.isfinite(time) and time > 0 for time in times.values())
        if type(threads) is not int or threads not in times or threads > key.cores or not sound:
            raise ValueError(f"not a choice of threads: {threads!r} of {times}")
        return cls(key, threads, times)


@dataclass(frozen=True, slots=True)
class ThreadStore:
    """Choices in a folder. No method fails because of what the folder holds.

    Attributes:
        folder: folder of the files; None if the user has no home folder, and nothing is kept.
    """

    folder: Path | None

    @classmethod
    def of_user(cls) -> "ThreadStore":
        """Return the store in the user's cache folder."""
        try:
            return cls(cache_folder() / "threads")
        except RuntimeError:  # the user has no home folder
            return cls(None)

    def find(self, key: ThreadKey) -> ThreadChoice | None:
        """Return the choice that was kept for a key; None if there is none, or not a valid one."""
        if self.folder is None:
            return None
        found = _read(self._file(self.folder, key))
        return found if found is not None and found.key == key else None

    def save(self, choice: ThreadChoice) -> None:
        """Write a choice over the one of the same key, if any; errors are ignored."""
        if self.folder is None:
            return
        with contextlib.suppress(OSError, InvalidInput):
            content = json.dumps(choice.to_json()).encode()
            write_atomically(self._file(self.folder, choice.key), content)
            for old in self._files()[_LIMIT:]:
                old.unlink(missing_ok=True)

    def choices(self) -> list[ThreadChoice]:
        """Return every valid choice, the latest first."""
        return [found for file in self._files() if (found := _read(file)) is not None]

    @staticmethod
    def _file(folder: Path, key: ThreadKey) -> Path:
        return folder / f"{key.digest}.json"

    def _files(self) -> list[Path]:
        """Return the files of choices, the latest first."""
        dated = []
        with contextlib.suppress(OSError):
            for file in () if self.folder is None else self.folder.glob("*.json"):
                with contextlib.suppress(OSError):
                    dated.append((file.lstat().st_mtime_ns, file))
        return [file for _, file in sorted(dated, reverse=True)]


def _read(file: Path) -> ThreadChoice | None:
    try:
        return ThreadChoice.from_json(parse(read_bounded(file, _BOUNDS.size), _BOUNDS))
    except (OSError, ValueError):
        return None
