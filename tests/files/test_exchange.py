"""Two names are exchanged in one step, or nothing happens."""

import ctypes
import errno
from pathlib import Path
from types import SimpleNamespace

import pytest

from ancestral.files.renames import exchange


def two(folder: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / name).touch()
    return folder / "a", folder / "b"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


def test_exchanged(tmp_path: Path) -> None:
    a, b = two(tmp_path)
    if not exchange(a, b):
        pytest.skip("this file system cannot exchange names")
    assert names(tmp_path) == ["a/b", "b/a"]


def test_library_without_the_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: object())
    a, b = two(tmp_path)
    assert exchange(a, b) is False
    assert names(tmp_path) == ["a/a", "b/b"]


def test_missing(tmp_path: Path) -> None:
    a, _ = two(tmp_path)
    with pytest.raises(FileNotFoundError):
        exchange(a, tmp_path / "c")
    assert names(tmp_path) == ["a/a", "b/b"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_not_supported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Without support in the system or the file system, False is returned and nothing changes."""

    def refused(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    library = SimpleNamespace(renameat2=refused, renamex_np=refused)
    monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: library)
    a, b = two(tmp_path)
    assert exchange(a, b) is False
    assert names(tmp_path) == ["a/a", "b/b"]
