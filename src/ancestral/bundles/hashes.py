"""The files that a manifest lists: there, inside the bundle, and the ones that were hashed.

Hashes that were computed before are remembered by (path, size, times, inode).
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
"""Files remembered at most; the oldest are forgotten first."""
_BOUNDS = Bounds.of_size(2**25)
"""Of the cache: more bytes than that many files with the longest paths take."""


def cache_folder() -> Path:
    """The user's cache folder for ancestral.

    $XDG_CACHE_HOME/ancestral, where that variable is an absolute path; else ~/.cache/ancestral on
    Linux and ~/Library/Caches/ancestral on macOS.

    Raises:
        RuntimeError: the user has no home folder.
    """
    return user_cache_path("ancestral", appauthor=False)


class Fingerprint(NamedTuple):
    """What changes when a file does.

    Attributes:
        size: in bytes.
        mtime_ns: when its content was last written; whoever owns the file can set it.
        ctime_ns: when its content or its inode last changed; nobody can set it.
        inode: its number; another one where a new file took the name.
    """

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def fingerprint(status: os.stat_result) -> Fingerprint:
    """The fingerprint of a file, from its status."""
    return Fingerprint(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@dataclass(slots=True)
class HashMemory:
    """A cache of SHA-256 sums: a file that has not changed since is not read again."""

    file: Path
    known: dict[str, str] = field(default_factory=dict)
    changed: bool = False

    @classmethod
    def load(cls) -> "HashMemory":
        """What was remembered; nothing where the cache is missing or damaged.

        A link to a device, a pipe, a folder, an unreadable, huge or deeply nested file is damaged.
        """
        try:
            file = cache_folder() / "hashes.json"
        except RuntimeError:  # a user without a home
            file = Path(os.devnull)
        try:
            values = parse(read_bounded(file, _BOUNDS.size), _BOUNDS)
        except (OSError, ValueError):
            values = {}
        sound = isinstance(values, dict) and all(isinstance(v, str) for v in values.values())
        return cls(file, values if sound else {})

    def sha256(self, path: Path, *, rehash: bool) -> str:
        """SHA-256 of a file, from memory where it is the same file and has not changed."""
        status = path.stat()
        key = json.dumps([str(path.resolve()), *fingerprint(status)])
        if rehash or key not in self.known:
            self.known[key] = sha256(path)
            self.changed = True
        return self.known[key]

    def save(self) -> None:
        """Remember; a cache that cannot be written is no error."""
        if self.changed:
            kept = dict(list(self.known.items())[-_LIMIT:])
            with contextlib.suppress(OSError, InvalidInput):
                write_atomically(self.file, json.dumps(kept).encode())


def file_problems(
    path: Path, manifest: Manifest, rehash: bool, seen: dict[str, Fingerprint]
) -> list[str]:
    """What is wrong with the files; the fingerprints of those that were checked go to `seen`."""
    problems = []
    hashes = HashMemory.load()
    for name in manifest.files:
        file = path / name
        with contextlib.suppress(OSError):
            seen[name] = fingerprint(file.stat())
        try:
            problems += _problems_of(path, name, manifest, hashes, rehash)
        except OSError as error:
            problems.append(f"{name}: cannot be read: {error}")
    hashes.save()
    return problems


def check_links(path: Path, manifest: Manifest) -> None:
    """Refuse a bundle all of whose files are links out of it, as in the cache of a hub.

    Raises:
        BundleError: with the way to a bundle of files.
    """
    if manifest.files and all(_leaves(path, name) for name in manifest.files):
        raise BundleError(
            f"{path}: each file is a link that leaves the bundle, as in the cache of a Hugging "
            f"Face hub: copy the files, `cp -rL {shlex.quote(str(path))} FOLDER`, or download them "
            f"with snapshot_download(..., local_dir=FOLDER), and give FOLDER"
        )


def _leaves(path: Path, name: str) -> bool:
    """Whether a file of a bundle is a link, or behind one, that leaves the bundle."""
    return not Path(os.path.realpath(path / name)).is_relative_to(os.path.realpath(path))


def _problems_of(
    path: Path, name: str, manifest: Manifest, hashes: HashMemory, rehash: bool
) -> list[str]:
    """What is wrong with one file.

    Raises:
        OSError: it cannot be read.
    """
    file, entry = path / name, manifest.files[name]
    if not file.is_file():
        return [f"{name}: missing"]
    if _leaves(path, name):
        return [f"{name}: a link that leaves the bundle"]
    size = file.stat().st_size
    if size != entry.size:
        return [f"{name}: expected {entry.size} bytes, got {size}"]
    if hashes.sha256(file, rehash=rehash) != entry.sha256:
        return [f"{name}: altered: its SHA-256 is not the manifest's"]
    return []
