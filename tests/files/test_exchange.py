"""Two names are exchanged in one step, or nothing happens."""

import ctypes
import errno
from pathlib import Path

import pytest

from ancestral.files import exchange as module
from ancestral.files.exchange import exchange


def two(folder: Path) -> tuple[Path, Path]:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / name).touch()
    return folder / "a", folder / "b"


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob("*/*"))


@pytest.mark.parametrize("library", ["function", "system call"])
def test_exchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str) -> None:
    """By the C library's function, and by number where it has none."""
    if library == "system call":
        real = ctypes.CDLL(None, use_errno=True)
        if real.syscall is None or module.platform.machine() not in module._SYSCALLS:
            pytest.skip("no number of renameat2 for this processor")

        class WithoutFunction:
            syscall = real.syscall

        monkeypatch.setattr(ctypes, "CDLL", lambda name, use_errno: WithoutFunction())
    a, b = two(tmp_path)
    if not exchange(a, b):
        pytest.skip("this file system cannot exchange names")
    assert names(tmp_path) == ["a/b", "b/a"]


def test_missing(tmp_path: Path) -> None:
    a, _ = two(tmp_path)
    with pytest.raises(FileNotFoundError):
        exchange(a, tmp_path / "c")
    assert names(tmp_path) == ["a/a", "b/b"]


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.ENOTSUP])
def test_not_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """A file system or a system without it: said, and nothing has changed."""

    def refused(*_: object) -> int:
        ctypes.set_errno(number)
        return -1

    monkeypatch.setattr(module, "_call", refused)
    a, b = two(tmp_path)
    assert exchange(a, b) is False
    assert names(tmp_path) == ["a/a", "b/b"]
