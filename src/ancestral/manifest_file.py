"""The file of a manifest, read and checked before anything else of a bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ancestral.arrays import shown
from ancestral.errors import BundleError, InvalidInput
from ancestral.input_file import read_bounded
from ancestral.limits import (
    MANIFEST_BYTES,
    MANIFEST_DEPTH,
    MANIFEST_KEYS,
    MANIFEST_VALUES,
    PROBLEM_CHARACTERS,
    PROBLEMS,
)
from ancestral.manifest import FORMAT_VERSION, Manifest, seal
from ancestral.strict_json import Bounds, parse

MANIFEST = "manifest.json"
_BOUNDS = Bounds(MANIFEST_BYTES, MANIFEST_VALUES, MANIFEST_KEYS, MANIFEST_DEPTH)


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
            f"{path}: expected format version {FORMAT_VERSION} or older, got {shown(version)}: "
            f"a newer ancestral wrote this bundle: pip install --upgrade ancestral"
        )
    try:
        manifest = Manifest.model_validate(values)
    except ValidationError as error:
        raise BundleError(report(path, _problems(error))) from error
    if seal(values) != manifest.sha256:
        problem = f"{MANIFEST}: altered: its SHA-256 is not the one that it holds"
        raise BundleError(report(path, [problem]))
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
        return parse(read_bounded(file, MANIFEST_BYTES), _BOUNDS)
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


def _problems(error: ValidationError) -> list[str]:
    # Without the input: a value may be as large as the file.
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [
        f"manifest, {'.'.join(map(str, problem['loc'])) or 'top level'}: {problem['msg']}"
        for problem in found
    ]


def report(path: Path, problems: Sequence[str]) -> str:
    """The sentence of a bundle that is not sound, and its problems, a line each."""
    lines = [f"  - {_cut(problem)}" for problem in problems[:PROBLEMS]]
    if len(problems) > PROBLEMS:
        lines.append(f"  and {len(problems) - PROBLEMS:,} more")
    text = "\n".join(lines)
    return f"{path}: not a sound bundle; export it again, or fetch it anew:\n{text}"


def _cut(problem: str) -> str:
    """A problem on one line, its middle left out where it is long."""
    line = "\\n".join(problem.splitlines())
    half = PROBLEM_CHARACTERS // 2
    return line if len(line) <= 2 * half else f"{line[:half]}...{line[-half:]}"
