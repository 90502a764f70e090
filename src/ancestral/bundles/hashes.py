"""Check that the files of a manifest exist, are inside the bundle, and have its hashes.

Hashes are cached by (path, size, times, inode), so that an unchanged file is not read again.
"""

import contextlib
import json
import os
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from platformdirs import user_cache_path

from ancestral.bundles.manifest import Manifest
from ancestral.errors import BundleError, InvalidInput
from ancestral.files.atomic import sha256, write_atomically
from ancestral.files.input_file import read_bounded
from ancestral.strict_json import Bounds, parse

_LIMIT = 4096
"""Most files in the cache; the oldest are removed first."""
_BOUNDS = Bounds.of_size(2**25)
"""Bounds on the cache: enough bytes for that many files with the longest paths."""


def cache_folder() -> Path:
    """Return the user's cache folder for ancestral.

    It is $XDG_CACHE_HOME/ancestral if that variable is an absolute path; otherwise
    ~/.cache/ancestral on Linux and ~/Library/Caches/ancestral on macOS.

    Raises:
        RuntimeError: the user has no home folder.
    """
    return user_cache_path("ancestral", appauthor=False)


class Fingerprint(NamedTuple):
    """Properties of a file that change when the file does.

    Attributes:
        size: size in bytes.
        mtime_ns: time of the last change of the content; the owner of the file can set it.
        ctime_ns: time of the last change of the content or the inode; users cannot set it.
        inode: number of the inode; it changes if a new file takes the name.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def fingerprint(status: os.stat_result) -> Fingerprint:
    """Return the fingerprint of a file from its status."""
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(slots=True)
class HashMemory:
    """Cache of SHA-256 sums, so that an unchanged file is not read again."""

    file: Path
    known: dict[str, str] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls) -> "HashMemory":
        """Load the cache; it is empty if its file is missing or damaged.

        Damaged means a link to a device, a pipe, a folder, or a file that is unreadable, huge or
        deeply nested.
        """
        try:
            file = cache_folder() / "hashes.json"
        except RuntimeError:  # the user has no home folder
            file = Path(os.devnull)
        try:
            values = parse(read_bounded(file, _BOUNDS.size), _BOUNDS)
        except (OSError, ValueError):
            values = {}
        sound = isinstance(values, dict) and all(isinstance(v, str) for v in values.values())
        return cls(file, values if sound else {})

    def sha256(self, path: Path, *, rehash: bool) -> str:
        """Return the SHA-256 of a file, from the cache if the file has not changed."""
        status = path.stat()
        key = json.dumps([str(path.resolve()), *fingerprint(status)])
        if rehash or key not in self.known:
            self.known[key] = sha256(path)
            self.changed = True
        return self.known[key]

    def save(self) -> None:
        """Write the cache if it changed; errors are ignored."""
        if self.changed:
            kept = dict(list(self.known.items())[-_LIMIT:])
            with contextlib.suppress(OSError, InvalidInput):
                write_atomically(self.file, json.dumps(kept).encode())


def file_problems(
    path: Path, manifest: Manifest, rehash: bool, seen: dict[str, Fingerprint]
) -> list[str]:
    """List the problems of the files, and store the fingerprint of each checked file in `seen`."""
    problems = []
    hashes = HashMemory.load()
    for name in manifest.files:
        file = path / name
        with contextlib.suppress(OSError):
            seen[name] = fingerprint(file.stat())
        try:
            problems += _problems_of(path, name, manifest, hashes, rehash)
        except OSError as error:
            problems.append(f"{name}: cannot be read ({error.strerror or error})")
    hashes.save()
    return problems


def check_links(path: Path, manifest: Manifest) -> None:
    """Refuse a bundle in which every file is a link out of it, as in the cache of a hub.

    Raises:
        BundleError: every file is such a link; the message says how to get a bundle of files.
    """
    if manifest.files and all(_leaves(path, name) for name in manifest.files):
        raise BundleError(
            f"{path}: every file is a link out of the bundle, as in the cache of the Hugging Face "
            f"Hub; copy the files with `cp -rL {shlex.quote(str(path))} FOLDER`, or download them "
            f"with snapshot_download(..., local_dir=FOLDER), and pass FOLDER"
        )


def _leaves(path: Path, name: str) -> bool:
    """Return whether links on the path of a file lead out of the bundle."""
    return not Path(os.path.realpath(path / name)).is_relative_to(os.path.realpath(path))


def _problems_of(
    path: Path, name: str, manifest: Manifest, hashes: HashMemory, rehash: bool
) -> list[str]:
    """List the problems of one file.

    Raises:
        OSError: the file cannot be read.
    """
    file, entry = path / name, manifest.files[name]
    if not file.is_file():
        return [f"{name}: missing"]
    if _leaves(path, name):
        return [f"{name}: a link out of the bundle"]
    size = file.stat().st_size
    if size != entry.size:
        return [f"{name}: expected {entry.size} bytes, got {size}"]
    if hashes.sha256(file, rehash=rehash) != entry.sha256:
        return [f"{name}: altered (its SHA-256 does not match the manifest)"]
    return []
