"""Choices of threads are kept by key; a damaged, foreign or read-only cache is not an error."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from ancestral.engine.thread_choice import ThreadChoice, ThreadKey, ThreadStore
from ancestral.processor import physical_cores, processor_name, usable_cpus
from tests.bundles.test_hashes import HOSTILE
from tests.limited import run_limited

KEY = ThreadKey(bundle="ab" * 32, batch=16, processor="EPYC", cores=4, runtime="onnxruntime 1.31.1")
CHOICE = ThreadChoice(KEY, 2, {1: 0.5, 2: 0.25})


@pytest.fixture
def store(tmp_path: Path) -> ThreadStore:
    return ThreadStore(tmp_path / "cache" / "threads")


def file_of(store: ThreadStore, key: ThreadKey = KEY) -> Path:
    assert store.folder is not None
    return store.folder / f"{key.digest}.json"


def test_remembered(store: ThreadStore) -> None:
    assert store.find(KEY) is None
    store.save(CHOICE)
    assert store.find(KEY) == CHOICE
    store.save(replace(CHOICE, threads=1))
    assert store.choices() == [replace(CHOICE, threads=1)]


@pytest.mark.parametrize(
    "other",
    [
        {"bundle": "cd" * 32},
        {"batch": 1},
        {"processor": "Xeon"},
        {"cores": 8},
        {"runtime": "onnxruntime 1.32.0"},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_key_misses(store: ThreadStore, other: dict[str, object]) -> None:
    """Another bundle, batch, processor, number of cores or runtime has a choice of its own."""
    store.save(CHOICE)
    key = replace(KEY, **other)
    assert store.find(key) is None
    store.save(ThreadChoice(key, 1, {1: 0.5}))
    assert store.find(KEY) == CHOICE
    assert store.find(key) == ThreadChoice(key, 1, {1: 0.5})


def test_file_of_another_key_is_ignored(store: ThreadStore) -> None:
    """A file that was copied to the name of another key does not answer for it."""
    store.save(CHOICE)
    other = replace(KEY, batch=1)
    file_of(store, other).write_bytes(file_of(store).read_bytes())
    assert store.find(other) is None


GOOD = CHOICE.to_json()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"1",
        b"\xff",
        b'{"threads": 2, "threads": 1}',
        *(
            json.dumps(GOOD | changed).encode()
            for changed in (
                {"threads": 3},
                {"threads": 0},
                {"threads": 5, "step_ms": {"5": 1.0}},
                {"threads": "2"},
                {"threads": True, "step_ms": {"1": 1.0}},
                {"step_ms": {}},
                {"step_ms": {"x": 1.0}},
                {"step_ms": {"2": -1.0}},
                {"step_ms": {"2": 1e999}},
                {"step_ms": [1, 2]},
                {"batch": "16"},
                {"processor": None},
                {"more": 1},
            )
        ),
        json.dumps({name: value for name, value in GOOD.items() if name != "batch"}).encode(),
    ],
)
def test_damaged(store: ThreadStore, content: bytes) -> None:
    store.save(CHOICE)
    file_of(store).write_bytes(content)
    assert store.find(KEY) is None
    assert store.choices() == []
    store.save(CHOICE)
    assert store.find(KEY) == CHOICE


@pytest.mark.skipif(sys.platform != "linux", reason="/dev and /proc are those of Linux")
def test_hostile(tmp_path: Path) -> None:
    """Links to devices, pipes, folders and huge files: no error, no endless read, no memory."""
    imports = (
        "import sys\nfrom pathlib import Path\n"
        "from ancestral.engine.thread_choice import ThreadChoice, ThreadKey, ThreadStore"
    )
    code = f"""
key = ThreadKey({KEY.bundle!r}, 16, "EPYC", 4, "onnxruntime 1.31.1")
for folder in sys.argv[2:]:
    store = ThreadStore(Path(folder))
    assert store.find(key) is None
    assert store.choices() == []
    store.save(ThreadChoice(key, 2, {{2: 1.0}}))
    print(folder)
"""
    folders = []
    for name, make in HOSTILE.items():
        folder = tmp_path / name
        folder.mkdir()
        make(folder / f"{KEY.digest}.json")
        folders.append(folder)
    assert run_limited(imports, code, "", *folders).splitlines() == [str(each) for each in folders]


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """A file has the folder's name, or /proc does not take folders: nothing is kept or raised."""
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "threads", Path("/proc/threads"), None):
        store = ThreadStore(folder)
        store.save(CHOICE)
        assert store.find(KEY) is None
        assert store.choices() == []


def test_oldest_are_removed(store: ThreadStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ancestral.engine.thread_choice._LIMIT", 3)
    for batch in range(1, 6):
        choice = replace(CHOICE, key=replace(KEY, batch=batch))
        store.save(choice)
        os.utime(file_of(store, choice.key), ns=(batch, batch))
    assert [choice.key.batch for choice in store.choices()] == [5, 4, 3]


WRITER = """
import sys
from pathlib import Path
from ancestral.engine.thread_choice import ThreadChoice, ThreadKey, ThreadStore

store, threads = ThreadStore(Path(sys.argv[1])), int(sys.argv[2])
for batch in [*range(1, 9), *range(100 * threads, 100 * threads + 4)]:
    key = ThreadKey("ab" * 32, batch, "EPYC", 4, "onnxruntime 1.31.1")
    store.save(ThreadChoice(key, threads, {threads: 1.0}))
    found = store.find(key)
    assert found is not None and found.threads in (1, 2), (batch, found)
"""


def test_two_processes(store: ThreadStore) -> None:
    """Two processes write the same keys and their own: no file is damaged, none is lost."""
    command = [sys.executable, "-c", WRITER, str(store.folder)]
    processes = [subprocess.Popen([*command, str(threads)]) for threads in (1, 2)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    found = {choice.key.batch: choice.threads for choice in store.choices()}
    assert set(found) == {*range(1, 9), *range(100, 104), *range(200, 204)}
    assert {found[batch] for batch in range(100, 104)} == {1}
    assert {found[batch] for batch in range(200, 204)} == {2}


def test_this_machine() -> None:
    assert processor_name()
    assert 1 <= physical_cores() <= usable_cpus() <= (os.cpu_count() or 1)
    here = ThreadKey.here("ab" * 32, 3, "onnxruntime 1.31.1")
    assert (here.processor, here.cores) == (processor_name(), physical_cores())
