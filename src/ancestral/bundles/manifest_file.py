"""Read and check the file of a manifest, before any other file of the bundle."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ancestral import limits
from ancestral.arrays import shown
from ancestral.bundles.manifest import FORMAT_VERSION, MANIFEST, Manifest, seal
from ancestral.errors import BundleError, InvalidInput
from ancestral.excerpts import problems_of, report
from ancestral.files.input_file import read_bounded, unreadable
from ancestral.strict_json import Bounds, parse

BOUNDS = Bounds(
    limits.MANIFEST_BYTES, limits.MANIFEST_VALUES, limits.MANIFEST_KEYS, limits.MANIFEST_DEPTH
)
"""Bounds on the JSON of a manifest."""


def read_manifest(path: Path) -> Manifest:
    """Return the manifest of the bundle in a folder.

    Raises:
        BundleError: the manifest is missing or not valid; the message lists every problem.
    """
    file = path / MANIFEST
    values = read_values(file)
    version = values.get("version") if isinstance(values, dict) else None
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise BundleError(
            f"{path}: expected format version {FORMAT_VERSION}, got {shown(version)}; "
            f"a newer ancestral wrote this bundle: pip install --upgrade ancestral"
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise unsound(path, (f"manifest, {each}" for each in problems_of(error))) from error
    if seal(values) != manifest.sha256:
        raise unsound(path, [f"{MANIFEST}: altered (its SHA-256 does not match)"])
    return manifest


def read_values(file: Path) -> Any:
    """Return the plain values of a manifest's file, which may be of another version or altered.

    Raises:
        BundleError: the file is missing, cannot be read, or is not JSON within the limits.
    """
    try:
        if not file.parent.is_dir():
            raise BundleError(f"{file.parent}: no such directory; pass the directory of a bundle")
        if not file.is_file():
            raise BundleError(f"{file.parent}: no file {MANIFEST}; pass the directory of a bundle")
        return parse(read_bounded(file, limits.MANIFEST_BYTES), BOUNDS)
    except BundleError:
        raise
    except InvalidInput as error:
        reason = str(error).removeprefix(f"{file}: ")
        raise BundleError(
            f"{file}: not the manifest of a bundle ({reason}); pass the directory of a bundle"
        ) from error
    except OSError as error:
        raise BundleError(unreadable(file, error)) from error
    except ValueError as error:
        raise BundleError(
            f"{file}: truncated or altered, not the JSON of a manifest ({error}); export the "
            f"bundle again or download it again"
        ) from error


def unsound(path: Path, problems: Iterable[str]) -> BundleError:
    """Return the error for a bundle that is not valid: its problems, one per line."""
    what = f"{path}: not a valid bundle; export it again or download it again"
    return BundleError(report(what, problems))
