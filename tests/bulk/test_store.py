"""Folders and object stores: files appear whole, credentials are not shown, errors are in words."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.request import urlopen

import pytest

from ancestral.bulk.job import JOB
from ancestral.bulk.parts import Plan
from ancestral.bulk.status import status
from ancestral.bulk.store import Store, without_credentials
from ancestral.errors import AncestralError, InvalidInput
from benchmarks.bulk import simulation

from .jobs import Bundles, finish, merged, ordered, worker_of

_TRIES = 300


@pytest.fixture(scope="module")
def s3_log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file in which the local S3 has a line for each request."""
    return tmp_path_factory.mktemp("s3") / "log"


@pytest.fixture(scope="module")
def s3(s3_log: Path) -> Iterator[str]:
    """Run a local S3 and return the URL of a bucket in it, with credentials."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with s3_log.open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-P", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        for _ in range(_TRIES):
            try:
                urlopen(f"http://127.0.0.1:{port}/", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        query = f"endpoint_override=127.0.0.1:{port}&scheme=http&region=us-east-1"
        yield f"s3://testing:sesame@bulk/PATH?{query}&allow_bucket_creation=true"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(params=["disk", "memory", pytest.param("s3", marks=pytest.mark.bulk)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return an empty folder or URL."""
    name = f"folder-{time.monotonic_ns()}"
    if request.param == "disk":
        return str(tmp_path / name)
    if request.param == "memory":
        return f"memory://{name}"
    return str(request.getfixturevalue("s3")).replace("PATH", name)


def test_files(place: str) -> None:
    store = Store.open(place)
    assert list(store.names()) == []
    assert store.read("a") is None
    assert not store.has("a")
    store.put("b", b"one")
    store.put("a", b"two")
    store.put("b", b"three")
    assert [(each.name, each.size) for each in store.names()] == [("a", 3), ("b", 5)]
    assert store.read("b") == b"three"
    assert store.has("b")
    with store.opened("b") as file:
        file.seek(2)
        assert file.read(2) == b"re"
    assert not store.put_new("b", b"four")
    assert store.put_new("c", b"five")
    assert (store.read("b"), store.read("c")) == (b"three", b"five")
    store.delete("a")
    store.delete("a")
    assert [each.name for each in store.names()] == ["b", "c"]


def test_job_in_any_store(place: str, bundles: Bundles, tmp_path: Path) -> None:
    """A job is continued in each kind of store, with the same rows as on a disk."""
    order = ordered(bundles("tiny"), 60)
    job, store, new = finish(order, place)
    assert new == [True] * 3
    store.put(next(each.name for each in store.names() if each.name != JOB), b"damaged")
    job, store, new = finish(order, place)
    assert sorted(new) == [False, False, True]
    expected = finish(order, tmp_path / "on disk")
    assert merged(job, store, tmp_path / "a") == merged(*expected[:2], tmp_path / "b")
    content = (store.read(JOB) or b"").decode()
    assert "sesame" not in content + store.label + store.shown("a")


def test_credentials_are_left_out() -> None:
    url = "s3://key:secret@bucket/folder?token=secret#secret"
    assert without_credentials(url) == "s3://bucket/folder"
    assert without_credentials("runs/a@b") == "runs/a@b"


@pytest.mark.parametrize(
    "url", ["s3://", "nothing://u:secret@place", "s3://k:secret@bucket/a?unknown_option=secret"]
)
def test_unusable_urls_are_refused(url: str) -> None:
    with pytest.raises((AncestralError, OSError)) as error:
        Store.open(url)
    assert "secret" not in str(error.value)


@pytest.mark.bulk
def test_unreachable_store_is_an_os_error(s3: str) -> None:
    """A bucket that does not exist, or denies access, is an error of the system, in one line."""
    url = s3.replace("@bulk/PATH", "@missing-bucket/folder").replace(
        "&allow_bucket_creation=true", ""
    )
    store = Store.open(url)
    with pytest.raises(OSError, match="missing-bucket") as error:
        store.put("a", b"content")
    assert "sesame" not in str(error.value)


@pytest.mark.bulk
def test_requests_to_s3(s3: str, s3_log: Path, bundles: Bundles) -> None:
    """A part costs the requests that benchmarks.bulk.simulation counts."""
    place = s3.replace("PATH", f"folder-{time.monotonic_ns()}")
    order = ordered(bundles("tiny"), 24)
    job, store, _ = finish(order, place, [])
    worker, part = worker_of(job, store, order), Plan(job).part(0)

    def requests(call: Callable[[], object]) -> dict[str, int]:
        before = len(s3_log.read_text())
        call()
        # The server answers a request before it writes the line.
        time.sleep(0.5)
        found = re.findall(r'"[^A-Z]*([A-Z]+) (\S+) HTTP', s3_log.read_text()[before:])
        return Counter("LIST" if "list-type" in path else method for method, path in found)

    assert requests(lambda: worker.finish(part)) == {**simulation.LOOK, **simulation.written(1)}
    assert requests(lambda: worker.finish(part)) == simulation.READ
    assert requests(lambda: store.has(part.name)) == simulation.LOOK
    assert requests(lambda: status(job, store)) == {"LIST": 1, **simulation.END}
    for size in (simulation.PIECE - 1, simulation.PIECE, simulation.PIECE + 1):
        put = partial(store.put, "a", bytes(size))
        assert requests(put) == simulation.written(size)


def test_a_file_is_not_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput, match="expected a folder"):
        Store.open(str(tmp_path / "file"))


def test_put_new_is_exclusive(tmp_path: Path) -> None:
    """If many processes create one file, exactly one succeeds; nothing else is left."""
    code = (
        "import sys; from ancestral.bulk.store import Store\n"
        "print(Store.open(sys.argv[1]).put_new('job.json', sys.argv[2].encode() * 1000))"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-P", "-c", code, str(tmp_path), str(i)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for i in range(4)
    ]
    answers = [child.communicate()[0].strip() for child in children]
    assert sorted(answers) == ["False", "False", "False", "True"]
    winner = answers.index("True")
    assert (tmp_path / "job.json").read_text() == str(winner) * 1000
    assert os.listdir(tmp_path) == ["job.json"]


def test_put_new_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    store = Store.open(str(tmp_path))
    assert store.put_new("a", b"one")
    assert not store.put_new("a", b"two")
    assert (store.read("a"), os.listdir(tmp_path)) == (b"one", ["a"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_wait_for_a_file(number: int, tmp_path: Path) -> None:
    """Ctrl-C or SIGTERM at any time of a write leaves the whole file, and nothing else."""
    seen: list[bool] = []

    def end(number: int, frame: object) -> None:
        seen.append((tmp_path / "a").exists())
        raise SystemExit

    real, store = os.fsync, Store.open(str(tmp_path))
    before = signal.signal(number, end)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "fsync", lambda handle: (real(handle), signal.raise_signal(number)))
            with pytest.raises(SystemExit):
                store.put("a", b"content")
    finally:
        signal.signal(number, before)
    assert seen[:1] == [True]
    assert (store.read("a"), os.listdir(tmp_path)) == (b"content", ["a"])
