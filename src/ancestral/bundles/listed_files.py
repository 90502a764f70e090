"""The files that a manifest lists: there, inside the bundle, and the ones that were hashed."""

import contextlib
import os
import shlex
from pathlib import Path

from ancestral.bundles.hashes import Fingerprint, HashMemory, fingerprint
from ancestral.bundles.manifest import Manifest
from ancestral.errors import BundleError


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
