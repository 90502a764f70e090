"""Files are written completely or not at all."""

import errno
import os
from pathlib import Path

import pytest

from ancestral.files.atomic import sha256, write_atomically, write_together


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_content_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomically(path, b"abc")
    # FIPS 180-2, appendix B.1
    assert sha256(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    write_atomically(path, lambda file: file.write(b"def"))
    assert path.read_bytes() == b"def"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_old_file_stays_when_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_failing_second_content_leaves_the_first_file_too(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    write_together({first: b"old", second: b"old"})
    with pytest.raises(OSError, match="No space left"):
        write_together({first: b"new", second: full})
    assert (first.read_bytes(), second.read_bytes()) == (b"old", b"old")
    assert sorted(os.listdir(tmp_path)) == ["first", "second"]


def test_no_name_changes_before_all_contents_are_on_disk(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    seen: list[bool] = []
    write_together({first: b"1", second: lambda _: seen.append(first.exists())})
    assert seen == [False]
    assert first.exists()


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary"
    ordinary.write_bytes(b"")
    write_atomically(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == ordinary.stat().st_mode
