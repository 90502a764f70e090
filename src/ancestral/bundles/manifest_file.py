"""The file of a manifest, read and checked before anything else of a bundle."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ancestral import limits
from ancestral.arrays import shown
from ancestral.bundles.manifest import FORMAT_VERSION, MANIFEST, Manifest, seal
from ancestral.errors import BundleError, InvalidInput
from ancestral.excerpts import problems_of, report
from ancestral.files.input_file import read_bounded
from ancestral.strict_json import Bounds, parse

BOUNDS = Bounds(
    limits.MANIFEST_BYTES, limits.MANIFEST_VALUES, limits.MANIFEST_KEYS, limits.MANIFEST_DEPTH
)
"""Of the JSON of a manifest."""


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle in a folder.

    Raises:
        BundleError: there is none, or it is not sound; every problem is named.
    """
    file = path / MANIFEST
    values = read_values(file)
    version = values.get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleError(
            f"{path}: expected format version {FORMAT_VERSION}, got {shown(version)}: "
            f"a newer ancestral wrote this bundle: pip install --upgrade ancestral"
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise unsound(path, (f"manifest, {each}" for each in problems_of(error))) from error
    if seal(values) != manifest.sha256:
        raise unsound(path, [f"{MANIFEST}: altered: its SHA-256 is not the one that it holds"])
    return manifest


def read_values(file: Path) -> Any:
    """The plain values of the file of a manifest, which may be of another version, or altered.

    Raises:
        BundleError: it is not there, cannot be read, or is not JSON within the limits.
    """
    try:
        if not file.parent.is_dir():
            raise BundleError(f"{file.parent}: expected a bundle (a directory), got none there")
        if not file.is_file():
            raise BundleError(f"{file.parent}: no bundle: expected {MANIFEST}, a file, in it")
        return parse(read_bounded(file, limits.MANIFEST_BYTES), BOUNDS)
    except BundleError:
        raise
    except InvalidInput as error:
        raise BundleError(f"{error}: this is not the manifest of a bundle") from error
    except OSError as error:
        raise BundleError(f"{file}: cannot be read: {error}") from error
    except ValueError as error:
        raise BundleError(
            f"{file}: not the JSON of a manifest: {error}: the bundle is truncated or altered"
        ) from error


def unsound(path: Path, problems: Iterable[str]) -> BundleError:
    """The error of a bundle that is not sound: its problems, a line each."""
    what = f"{path}: not a sound bundle; export it again, or fetch it anew"
    return BundleError(report(what, problems))
