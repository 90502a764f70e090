"""Several processes on one machine, and several on one shard; what happens if one is ended."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ancestral.bulk.make import make_job
from ancestral.bulk.parts import WHOLE, Plan
from ancestral.bulk.store import Store
from ancestral.bulk.work import work
from ancestral.bulk.workers import WorkerFailed, run_workers
from ancestral.errors import InvalidInput

from .jobs import Bundles, finish, merged, ordered, part_files, worker_of

ROOT = Path(__file__).parents[2]


def start_of(order: Any, out: Path) -> dict[str, Any]:
    return {"out": str(out), "bundle": str(order.bundle), "data": list(order.data)}


def test_processes_share_the_parts(bundles: Bundles, tmp_path: Path) -> None:
    order = ordered(bundles("tiny"))
    store = Store.open(str(tmp_path / "out"))
    job = make_job(order, store)
    done: list[tuple[int, bool]] = []
    told: list[int] = []
    run_workers(
        job,
        store,
        start_of(order, tmp_path / "out"),
        WHOLE,
        2,
        lambda part, new: done.append((part.first, new)),
        told.append,
    )
    assert sum(told) == 200
    assert sorted(done) == [(24 * i, True) for i in range(9)]
    expected = finish(order, tmp_path / "one")
    assert merged(job, store, tmp_path / "a") == merged(*expected[:2], tmp_path / "b")


@pytest.mark.slow
def test_two_workers_on_one_shard(bundles: Bundles, tmp_path: Path) -> None:
    """Two workers that do the same parts at the same time harm nothing: all parts are sound."""
    order = ordered(bundles("tiny"))
    store = Store.open(str(tmp_path / "out"))
    job = make_job(order, store)
    plan, counts = Plan(job), [0, 0]
    ready = threading.Barrier(2)

    def run(i: int) -> None:
        worker = worker_of(job, store, order)
        ready.wait()

        def count(part: object, new: bool) -> None:
            counts[i] += new

        work(worker, map(plan.part, range(plan.count)), count)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(counts) >= 9
    assert len(part_files(tmp_path / "out")) == 9
    expected = finish(order, tmp_path / "one")
    assert merged(job, store, tmp_path / "a") == merged(*expected[:2], tmp_path / "b")
    assert sorted(os.listdir(tmp_path / "out")) == sorted(os.listdir(tmp_path / "one"))


@pytest.mark.slow
def test_error_of_a_worker(bundles: Bundles, tmp_path: Path) -> None:
    """An error in a worker process is raised here as it was raised there."""
    order = ordered(bundles("tiny"))
    store = Store.open(str(tmp_path / "out"))
    job = make_job(order, store)
    start = start_of(order, tmp_path / "out") | {"bundle": str(bundles("gru"))}
    with pytest.raises(InvalidInput, match="expected the bundle"):
        run_workers(job, store, start, WHOLE, 2, lambda part, new: None)


def test_killed_worker(bundles: Bundles, tmp_path: Path) -> None:
    """If a worker is killed, that is said; the same command finishes the job."""
    order = ordered(bundles("tiny"), 2400)
    store = Store.open(str(tmp_path / "out"))
    job = make_job(order, store)

    def kill(part: object, new: bool) -> None:
        for child in children():
            os.kill(child, signal.SIGKILL)

    with pytest.raises(WorkerFailed, match="signal 9"):
        run_workers(job, store, start_of(order, tmp_path / "out"), WHOLE, 2, kill)
    assert children() == []
    assert 1 <= len(part_files(tmp_path / "out")) < 100
    _, _, new = finish(order, tmp_path / "out")
    assert new.count(False) >= 1


def test_memory_is_not_shared(bundles: Bundles) -> None:
    order = ordered(bundles("tiny"))
    store = Store.open("memory://workers")
    job = make_job(order, store)
    start = {"out": "memory://workers", "bundle": str(order.bundle), "data": []}
    with pytest.raises(InvalidInput, match="--workers: expected 1"):
        run_workers(job, store, start, WHOLE, 2, lambda part, new: None)


@pytest.fixture
def running(bundles: Bundles, tmp_path: Path) -> Iterator[Any]:
    """Return a function that starts a long job in a process, and waits for its first parts."""
    started: list[subprocess.Popen[str]] = []

    def start(workers: int) -> subprocess.Popen[str]:
        # A shell may have started the tests with Ctrl-C ignored, which a process inherits.
        code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
        code += "; from ancestral.cli.start import start; start()"
        words = f"bulk sample {bundles('tiny')} -n 1000000 --batch 8 --part-size 24 --threads 1"
        out = ("-o", str(tmp_path / "out"))
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", code, *words.split(), "--workers", str(workers), *out],
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        end = time.monotonic() + 120
        while len(part_files(tmp_path / "out")) < 3:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < end
            time.sleep(0.02)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("workers", [pytest.param(1, marks=pytest.mark.slow), 2])
@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow), (signal.SIGINT, 130)],
)
def test_ended_job(
    workers: int, number: int, code: int, running: Any, bundles: Bundles, tmp_path: Path
) -> None:
    """SIGTERM and Ctrl-C drop the part in progress: what is there is whole, and nothing else."""
    process = running(workers)
    # Ctrl-C of a terminal goes to all processes of the group.
    (os.killpg if number == signal.SIGINT else os.kill)(process.pid, number)
    error = process.communicate(timeout=60)[1]
    assert process.returncode == code, error
    assert re.search(r"^stopped after [\d,]+ rows in .*; run the same", error, re.MULTILINE)
    assert "Traceback" not in error
    assert children_of_group(process.pid) == []
    files = os.listdir(tmp_path / "out")
    assert {name.split("-")[0] for name in files} == {"job.json", "part"}
    order = ordered(bundles("tiny"), 24 * 3)
    store = Store.open(str(tmp_path / "out"))
    job = make_job(
        ordered(order.bundle, 1_000_000, settings=order.settings.model_copy(update={"seed": 0})),
        store,
    )
    worker = worker_of(job, store, order)
    plan = Plan(job)
    names = {plan.part(i).name for i in range(plan.count)}
    parts = [name for name in files if name != "job.json"]
    assert set(parts) <= names
    there = [plan.part(i) for i in range(9) if plan.part(i).name in parts]
    assert there
    assert [worker.finish(part) for part in there] == [False] * len(there)


def children() -> list[int]:
    """Return the processes that this one has started and that are alive."""
    text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    alive = []
    for child in map(int, text.split()):
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"ancestral.bulk.process" in command:
            alive.append(child)
    return alive


def children_of_group(group: int) -> list[int]:
    """Return the processes of a group that are still alive after a short time."""
    for _ in range(100):
        alive = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[2]) == group and fields[0] != "Z":
                alive.append(int(path.parent.name))
        if not alive:
            return []
        time.sleep(0.05)
    return alive
