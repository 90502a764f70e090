"""Find the Pythons of this machine: on PATH, and in the folders of pyenv and uv."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

NAMES = ("python3.11", "python3.12", "python3.13", "python3.14")
_VERSION = "import sys; print('.'.join(map(str, sys.version_info[:3])))"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python that runs.

    Attributes:
        path: path of the executable.
        version: version, for example 3.13.0.
    """

    path: Path
    version: str


def find(name: str, environment: Mapping[str, str]) -> Interpreter | None:
    """Return the first Python with a name or a path that runs; None if there is none."""
    candidates = [Path(name)] if os.sep in name else _named(name, environment)
    for path in candidates:
        version = _version(path)
        if version is not None:
            return Interpreter(path, version)
    return None


def _named(name: str, environment: Mapping[str, str]) -> Iterator[Path]:
    for folder in environment.get("PATH", "").split(os.pathsep):
        yield Path(folder or os.curdir, name)
    home = Path(environment.get("HOME", os.curdir))
    pyenv = Path(environment.get("PYENV_ROOT", home / ".pyenv"))
    data = Path(environment.get("XDG_DATA_HOME", home / ".local" / "share"))
    for folders in (pyenv / "versions", data / "uv" / "python"):
        yield from _newest_first(folders.glob(f"*/bin/{name}"))


def _newest_first(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: _numbers(path.parts[-3]), reverse=True)


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def _version(path: Path) -> str | None:
    """Return the version of a Python; None if it does not run, like a pyenv shim without one."""
    try:
        done = subprocess.run([path, "-c", _VERSION], capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
