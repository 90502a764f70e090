"""Temporaries are locked by their owner, swept once it was killed, and otherwise left alone."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ancestral.files import temporary as module
from ancestral.files.atomic import tidy, write_atomically, write_together
from ancestral.files.renames import finish_renames
from ancestral.files.temporary import abandoned, target_of, temporary, temporary_name

OWNER = """
import sys, time
from pathlib import Path
from ancestral.files.temporary import temporary

target, folder = Path(sys.argv[1]), sys.argv[2] == "folder"
with temporary(target, folder=folder) as made:
    if folder:
        (made.path / "inner").mkdir()
        (made.path / "inner" / "file").write_text("half")
    print(made.path, flush=True)
    time.sleep(600)
"""


@contextmanager
def owner(target: Path, kind: str) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """Yield a running process that has a temporary, and the temporary's path."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(target), kind], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().strip())
    finally:
        process.kill()
        process.wait(60)
        process.stdout.close()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_swept_when_the_owner_was_killed_and_not_before(tmp_path: Path, kind: str) -> None:
    with owner(tmp_path / "target", kind) as (process, path):
        assert target_of(path.name) == "target"
        tidy(tmp_path)
        assert path.exists()
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        tidy(tmp_path)
        assert list(tmp_path.iterdir()) == []


def test_a_writer_sweeps_the_folder_that_it_writes_to(tmp_path: Path) -> None:
    with owner(tmp_path / "one", "file"), owner(tmp_path / "two", "folder") as (process, path):
        process.kill()
        process.wait(60)
        write_atomically(tmp_path / "three", b"")
        assert not path.exists()
        assert len(list(tmp_path.glob(".one.*.part"))) == 1


def litter(folder: Path, name: str) -> Path:
    path = folder / name
    path.write_bytes(b"half")
    return path


def test_other_files_are_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = temporary_name(tmp_path / "a").name
    machine = own.split(".")[2].split("-")[0]
    others = [
        ".part",
        "a.part",
        own.removeprefix("."),
        own + "~",
        own.replace(".part", ".tmp"),
        f".a.{machine}-0123456789abcdeg.part",
        f"..{machine}-0123456789abcdef.part",
        ".a.0123456789abcdef.part",
        temporary_name(tmp_path / "a", "old").name,
    ]
    for name in others:
        litter(tmp_path, name)
    (tmp_path / "real").mkdir()
    litter(tmp_path / "real", "kept")
    link = tmp_path / temporary_name(tmp_path / "link").name
    link.symlink_to(tmp_path / "real")
    fifo = tmp_path / temporary_name(tmp_path / "fifo").name
    os.mkfifo(fifo)
    before = sorted(path.name for path in tmp_path.rglob("*"))
    litter(tmp_path, own)
    tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    litter(tmp_path, own)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    tidy(tmp_path)
    assert (tmp_path / own).exists()


def test_of_another_machine_after_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = litter(tmp_path, temporary_name(tmp_path / "a").name)
    monkeypatch.setattr("socket.gethostname", lambda: "another")
    tidy(tmp_path)
    assert path.exists()
    os.utime(path, (time.time() - 90000,) * 2)
    tidy(tmp_path)
    assert not path.exists()


def test_without_locks_everything_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a network file system without locks, files are written, and nothing is swept."""

    def refused(handle: int, operation: int) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refused)
    path = litter(tmp_path, temporary_name(tmp_path / "a").name)
    write_atomically(tmp_path / "a", b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "a"])
    with temporary(tmp_path / "b", folder=True) as made:
        tidy(tmp_path)
        assert made.path.is_dir()


def test_where_inode_numbers_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If inode numbers change, as on some network file systems, nothing is swept."""
    names = iter(f"{i:016x}" for i in range(3))
    monkeypatch.setattr("secrets.token_hex", lambda size: next(names))
    monkeypatch.setattr("os.path.samestat", lambda first, second: False)
    path = litter(tmp_path, temporary_name(tmp_path / "a").name)
    write_atomically(tmp_path / "a", b"whole")
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "a"])


def test_a_machine_whose_name_is_not_utf8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: os.fsdecode(b"caf\xe9"))
    write_atomically(tmp_path / "a", b"whole")
    assert (tmp_path / "a").read_bytes() == b"whole"


@pytest.mark.parametrize("folder", [False, True], ids=["file", "folder"])
def test_a_sweep_between_creation_and_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: bool
) -> None:
    """An owner whose temporary was removed or locked by a sweep makes another one."""
    real, calls = module.lock, []

    def lock(handle: int) -> bool:
        calls.append(handle)
        if len(calls) == 1:
            tidy(tmp_path)
        if len(calls) == 2:
            (path,) = tmp_path.iterdir()
            with abandoned(path) as found:
                assert found
                return real(handle)
        return real(handle)

    monkeypatch.setattr(module, "lock", lock)
    with temporary(tmp_path / "a", folder=folder) as made:
        assert len(calls) == 3
        assert made.path.exists()
        with abandoned(made.path) as found:
            assert not found


def journal(folder: Path, renames: object) -> Path:
    path = temporary_name(folder / "last", "renames")
    path.write_text(json.dumps({"renames": renames}))
    return path


def test_a_journal_finishes_the_renames(tmp_path: Path) -> None:
    (tmp_path / "first").write_text("old")
    works = {name: temporary_name(tmp_path / name) for name in ("first", "last")}
    for name, work in works.items():
        work.write_text(f"new {name}")
    path = journal(tmp_path, {work.name: name for name, work in works.items()})
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        tidy(tmp_path)
        assert (tmp_path / "first").read_text() == "old", "its owner is running"
        assert all(work.exists() for work in works.values()), "the journal needs them"
    tidy(tmp_path)
    assert {each.name: each.read_text() for each in tmp_path.iterdir()} == {
        "first": "new first",
        "last": "new last",
    }


@pytest.mark.parametrize("text", ["[" * 10**5, '{"renames": 1}', "{}", "\xff", "[" * 2**21])
def test_a_file_that_is_not_a_journal_stays(tmp_path: Path, text: str) -> None:
    path = journal(tmp_path, {})
    path.write_text(text, encoding="latin-1")
    finish_renames(tmp_path)
    assert path.exists()


def test_a_journal_stays_until_all_is_renamed(tmp_path: Path) -> None:
    """A file whose place is taken by a folder waits, with the journal, until the folder is gone."""
    works = [litter(tmp_path, temporary_name(tmp_path / name).name) for name in ("first", "last")]
    path = journal(tmp_path, {works[0].name: "first", works[1].name: "last"})
    (tmp_path / "first").mkdir()
    tidy(tmp_path)
    assert path.exists()
    assert works[0].exists()
    assert (tmp_path / "last").is_file()
    (tmp_path / "first").rmdir()
    tidy(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["first", "last"]


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "other", ".", "", None, 3])
def test_a_journal_renames_temporaries_to_their_own_names_only(
    tmp_path: Path, name: object
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    work = litter(folder, temporary_name(folder / "name").name)
    path = journal(folder, {work.name: name})
    (folder / "other").write_text("kept")
    finish_renames(folder)
    assert sorted(folder.iterdir()) == sorted([work, path, folder / "other"])
    assert (folder / "other").read_text() == "kept"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_deeply_nested_journal_stays(tmp_path: Path) -> None:
    path = temporary_name(tmp_path / "last", "renames")
    path.write_text("[" * 100_000)
    write_atomically(tmp_path / "last", b"new")
    assert sorted(tmp_path.iterdir()) == sorted([path, tmp_path / "last"])


TOGETHER = """
import os, sys
from pathlib import Path
from ancestral.files.atomic import write_together
from tests.killing import Points

folder = Path(sys.argv[1])
k, status = 0, -9
while status:
    k += 1
    if os.fork() == 0:
        Points(str(folder), k)
        write_together({folder / name: b"new" for name in ("a", "b", "c")})
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.wait()[1])
    print(k, status, flush=True)
    sys.stdin.readline()
"""


def test_files_of_one_folder_change_together(tmp_path: Path) -> None:
    """Killed at any point, the files are all old or all new once the next reader has looked."""
    folder = tmp_path / "folder"
    folder.mkdir()

    def fresh() -> None:
        write_together({folder / name: b"old" for name in ("a", "b", "c")})

    fresh()
    process = subprocess.Popen(
        [sys.executable, "-c", TOGETHER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdin is not None
    assert process.stdout is not None
    seen = []
    try:
        for line in process.stdout:
            k, status = map(int, line.split())
            assert status in (-9, 0), k
            finish_renames(folder)
            contents = {(folder / name).read_bytes() for name in ("a", "b", "c")}
            assert len(contents) == 1, k
            seen += contents
            fresh()
            assert sorted(os.listdir(folder)) == ["a", "b", "c"], k
            process.stdin.write("\n")
            process.stdin.flush()
            if status == 0:
                break
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()
    assert seen[-1] == b"new"
    assert len(seen) > 20
    assert seen == sorted(seen, reverse=True), "first the old content, then the new"
