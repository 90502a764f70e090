"""The wheel of this checkout, built offline from a copy without build outputs."""

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("engine", "export", "train", "triton_kernels")
BUILD = "from setuptools import build_meta; build_meta.build_{kind}({target!r})"


def copy_project(target: Path) -> Path:
    """Copy the project as a fresh clone has it: without build outputs, with links as links."""
    target.mkdir()
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, target)
    for folder in ("src", *FOLDERS):
        ignored = shutil.ignore_patterns("__pycache__", "*.egg-info")
        shutil.copytree(ROOT / folder, target / folder, symlinks=True, ignore=ignored)
    return target


def build(kind: str, project: Path, target: Path) -> Path:
    """Build a wheel or an sdist offline, as pip does, with the backend of pyproject.toml."""
    target.mkdir()
    command = [sys.executable, "-c", BUILD.format(kind=kind, target=str(target))]
    result = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = target.iterdir()
    return built
