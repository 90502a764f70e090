"""Each way to install ancestral has every module; a checkout without links says what to do."""

import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import ancestral
from tests.wheel import FOLDERS, ROOT, build, copy_project

SUFFIXES = (".py", ".pyi", ".html", ".css", ".js")
"""Suffixes of modules, of stubs, and of the files of the server's page."""


def modules_of_tree(root: Path) -> set[str]:
    """Return the names that every file of the tree must have in an installation."""
    core = (root / "src" / "ancestral").rglob("*")
    folders = (file for folder in FOLDERS for file in (root / folder).rglob("*"))
    names = {f"ancestral/{file.relative_to(root / 'src' / 'ancestral')}" for file in _code(core)}
    return names | {f"ancestral/{file.relative_to(root)}" for file in _code(folders)}


def modules_of_wheel(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if name.endswith((*SUFFIXES, "py.typed"))}


def _code(files: Iterator[Path]) -> Iterator[Path]:
    return (file for file in files if file.suffix in SUFFIXES or file.name == "py.typed")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    return copy_project(tmp_path / "project")


def import_from(source: Path) -> subprocess.CompletedProcess[str]:
    """Import ancestral from source/ancestral in a new process."""
    code = f"import sys; sys.path.insert(0, {str(source)!r}); import ancestral"
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("folder", FOLDERS)
def test_link_is_relative_and_inside(folder: str) -> None:
    link = ROOT / "src" / "ancestral" / folder
    assert link.is_symlink()
    assert link.readlink() == Path("..", "..", folder)


def test_editable_install_is_this_tree() -> None:
    assert Path(ancestral.__file__).parent == ROOT / "src" / "ancestral"


def test_wheel_holds_every_module(project: Path, tmp_path: Path) -> None:
    wheel = build("wheel", project, tmp_path / "wheel")
    assert modules_of_wheel(wheel) == modules_of_tree(ROOT)


def test_wheel_from_sdist_holds_every_module(project: Path, tmp_path: Path) -> None:
    sdist = build("sdist", project, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    wheel = build("wheel", unpacked, tmp_path / "wheel")
    assert modules_of_wheel(wheel) == modules_of_tree(ROOT)


def test_wheel_without_a_link_is_found(project: Path, tmp_path: Path) -> None:
    """The planted fault of the two tests above."""
    (project / "src" / "ancestral" / "engine").unlink()
    wheel = build("wheel", project, tmp_path / "wheel")
    lost = modules_of_tree(ROOT) - modules_of_wheel(wheel)
    assert lost
    assert all(name.startswith("ancestral/engine/") for name in lost)


def test_checkout_without_links_says_what_to_do(project: Path) -> None:
    """If core.symlinks is false, git writes links as files: the error has commands to fix it."""
    for folder in FOLDERS:
        link = project / "src" / "ancestral" / folder
        target = link.readlink()
        link.unlink()
        link.write_text(str(target))
    result = import_from(project / "src")
    assert result.returncode == 1
    assert "ImportError" in result.stderr
    assert "train, export, engine, triton_kernels" in result.stderr
    assert "git config core.symlinks true && git checkout -- src/ancestral" in result.stderr


def test_checkout_with_links_imports(project: Path) -> None:
    result = import_from(project / "src")
    assert result.returncode == 0, result.stderr
