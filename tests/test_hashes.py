"""Hashes are remembered for files that have not changed, and a damaged memory is no error."""

import hashlib
import os
from pathlib import Path

import pytest

from ancestral.hashes import HashMemory, cache_folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ancestral" / "hashes.json"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "data"
    path.write_bytes(b"one")
    return path


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def remember(file: Path) -> None:
    memory = HashMemory.load()
    memory.sha256(file, rehash=False)
    memory.save()


def test_remembered(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that has not changed is not read again, unless that is asked."""
    remember(file)
    monkeypatch.setattr("ancestral.hashes.sha256", lambda path: "read")
    memory = HashMemory.load()
    assert memory.sha256(file, rehash=False) == sha(b"one")
    assert memory.sha256(file, rehash=True) == "read"
    assert memory.sha256(file, rehash=False) == "read"


@pytest.mark.parametrize("what", ["size", "time", "inode", "content alone"])
def test_changed(file: Path, what: str) -> None:
    """Size, modification time and inode tell; where they are made to agree, the change time."""
    remember(file)
    status = file.stat()
    match what:
        case "size":
            file.write_bytes(b"three")
        case "time":
            file.write_bytes(b"two")
        case "inode":
            other = file.with_name("other")
            other.write_bytes(b"two")
            other.replace(file)
        case "content alone":
            with file.open("r+b") as opened:
                opened.write(b"two")
    if what != "time":
        os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert HashMemory.load().sha256(file, rehash=False) == sha(file.read_bytes()) != sha(b"one")


@pytest.mark.parametrize("damage", [b"", b"{", b"[1]", b'{"a": 1}', b"\xff"])
def test_damaged(file: Path, cache: Path, damage: bytes) -> None:
    remember(file)
    cache.write_bytes(damage)
    assert HashMemory.load().known == {}
    remember(file)
    assert list(HashMemory.load().known.values()) == [sha(b"one")]


def test_no_place_to_remember(file: Path, cache: Path) -> None:
    cache.parent.parent.write_text("a file where the folder should be")
    remember(file)
    assert HashMemory.load().sha256(file, rehash=False) == sha(b"one")


def test_oldest_are_forgotten(file: Path, cache: Path) -> None:
    memory = HashMemory.load()
    memory.known = {str(i): "old" for i in range(5000)}
    memory.sha256(file, rehash=False)
    memory.save()
    known = HashMemory.load().known
    assert len(known) < 5000
    assert sha(b"one") in known.values()


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "ancestral"
