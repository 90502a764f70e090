"""Hashes are remembered for files that have not changed, and a damaged memory is not an error."""

import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ancestral.bundles.hashes import HashMemory, cache_folder
from tests.limited import run_limited


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
    """A file that has not changed is not read again, except with `rehash`."""
    remember(file)
    monkeypatch.setattr("ancestral.bundles.hashes.sha256", lambda path: "read")
    memory = HashMemory.load()
    assert memory.sha256(file, rehash=False) == sha(b"one")
    assert memory.sha256(file, rehash=True) == "read"
    assert memory.sha256(file, rehash=False) == "read"


@pytest.mark.parametrize("what", ["size", "time", "inode", "only content"])
def test_changed(file: Path, what: str) -> None:
    """A change shows in size, modification time or inode, or else in the change time."""
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
        case "only content":
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


def sparse(path: Path) -> None:
    with path.open("wb") as opened:
        opened.truncate(2**40)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "nested": lambda path: path.write_bytes(b'{"a":' * 2**20),
    "nested lists": lambda path: path.write_bytes(b"[" * 2**20),
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "terminal": lambda path: path.symlink_to("/dev/tty"),
    "pipe": os.mkfifo,
    "huge": sparse,
    "folder": Path.mkdir,
    "unreadable": lambda path: path.symlink_to("/proc/self/mem"),
    "loop": lambda path: path.symlink_to(path),
    "dangling": lambda path: path.symlink_to(path.with_name("nowhere")),
    "large number": lambda path: path.write_bytes(b'{"a": ' + b"1" * 2**20 + b"}"),
}
REMEMBER = """
path = Path(sys.argv[1])
memory = HashMemory.load()
assert memory.known == {}, memory
memory.sha256(path, rehash=False)
memory.save()
print(HashMemory.load().sha256(path, rehash=False))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/dev and /proc are those of Linux")
def test_hostile(file: Path, tmp_path: Path) -> None:
    """A hostile memory causes no error, no endless read, and does not fill the RAM."""
    imports = (
        "import os, sys\nfrom pathlib import Path\nfrom ancestral.bundles.hashes import HashMemory"
    )
    code = ["for sys.argv[1], os.environ['XDG_CACHE_HOME'] in zip(sys.argv[2::2], sys.argv[3::2]):"]
    code += [f"    {line}" for line in REMEMBER.strip().splitlines()]
    arguments: list[object] = []
    for name, make in HOSTILE.items():
        folder = tmp_path / name
        (folder / "ancestral").mkdir(parents=True)
        make(folder / "ancestral" / "hashes.json")
        arguments += [file, folder]
    printed = run_limited(imports, "\n".join(code), "", *arguments)
    assert printed.split() == [sha(b"one")] * len(HOSTILE)


def test_a_damaged_file_is_replaced(file: Path, cache: Path) -> None:
    cache.parent.mkdir(parents=True)
    for name in ("nested", "dangling"):
        cache.unlink(missing_ok=True)
        HOSTILE[name](cache)
        remember(file)
        assert list(HashMemory.load().known.values()) == [sha(b"one")]


@pytest.mark.parametrize("home", ["a relative path", "../up", "."])
def test_a_relative_cache_is_ignored(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, home: str
) -> None:
    """Nothing is written to the working folder, as XDG's base directory specification requires."""
    monkeypatch.setenv("XDG_CACHE_HOME", home)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "working" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "working" / "inside")
    remember(file)
    assert cache_folder() == default(tmp_path / "home")
    assert list(HashMemory.load().known.values()) == [sha(b"one")]
    assert list((tmp_path / "working").rglob("*")) == [tmp_path / "working" / "inside"]


def default(home: Path) -> Path:
    """Return the cache folder of a user who has set no variable."""
    return home / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "ancestral"


def test_a_user_without_a_home(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(*_: object, **__: object) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("ancestral.bundles.hashes.user_cache_path", homeless)
    remember(file)
    assert HashMemory.load().known == {}


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
    assert cache_folder() == default(Path.home())
