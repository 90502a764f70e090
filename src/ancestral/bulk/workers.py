"""Several worker processes on one machine: each takes the next part when it has finished one."""

import json
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any

from ancestral import errors
from ancestral.bulk.computed import Tell, ignored
from ancestral.bulk.job import Job
from ancestral.bulk.parts import Plan, Shard
from ancestral.bulk.store import Store
from ancestral.bulk.work import Report
from ancestral.errors import AncestralError, InvalidInput

_CODE = "from ancestral.bulk.process import main; main()"


class WorkerFailed(AncestralError, RuntimeError):
    """A worker process ended before its work was done."""


@dataclass(slots=True)
class _Parts:
    """Numbers of the parts of a shard, given out one by one to several threads."""

    numbers: Iterator[int]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def next(self) -> int | None:
        """Return the next number; None after the last one."""
        with self._lock:
            return next(self.numbers, None)

    def stop(self) -> None:
        """Give out no further part."""
        with self._lock:
            self.numbers = iter(())


def run_workers(
    job: Job,
    store: Store,
    start: dict[str, Any],
    shard: Shard,
    count: int,
    report: Report,
    tell: Tell = ignored,
) -> None:
    """Finish the parts of a shard with several processes.

    The processes map the same file of weights, so that its pages are in memory once. If one of them
    fails, the others finish their parts, and the error is raised. If this process is interrupted,
    the workers are ended, and the parts that they were computing are dropped.

    Args:
        job: the job.
        store: its folder.
        start: the folder, the bundle and the files of data, as `ancestral.bulk.process` takes them.
        shard: the shard.
        count: number of processes.
        report: function that is called after each part.
        tell: function that is called after each batch with its number of rows.

    Raises:
        InvalidInput: the folder is in the memory of this process.
        WorkerFailed: a worker was killed.
        AncestralError: as in `work`.
        OSError: as in `work`.
    """
    if store.private:
        raise InvalidInput(
            f"--workers: expected 1 for {store.label}, which other processes cannot see, got "
            f"{count}"
        )
    plan = Plan(job)
    parts = _Parts(iter(shard.numbers(plan.count)))
    # Ctrl-C in the middle of a Queue's Python code could leave its lock taken, and threads waiting.
    done: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    processes = [_started() for _ in range(count)]
    threads = [
        threading.Thread(target=_drive, args=(process, start, parts, done), daemon=True)
        for process in processes
    ]
    failure: dict[str, Any] | None = None
    try:
        for thread in threads:
            thread.start()
        running = count
        while running:
            answer = done.get()
            if answer is None:
                running -= 1
            elif "rows" in answer:
                tell(answer["rows"])
            elif "part" in answer:
                report(plan.part(answer["part"]), answer["computed"])
            else:
                failure = failure or answer
                parts.stop()
    finally:
        parts.stop()
        _end(processes, threads)
    if failure is not None:
        raise _error(failure)


def _started() -> subprocess.Popen[str]:
    # The worker inherits the mask: until it ignores Ctrl-C itself, Ctrl-C does not reach it.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _end(processes: list[subprocess.Popen[str]], threads: list[threading.Thread]) -> None:
    """End the workers, and the threads that wait for their answers."""
    for process in processes:
        process.terminate()
    for process, thread in zip(processes, threads, strict=True):
        process.wait()
        if thread.ident is not None:
            thread.join()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()


def _drive(
    process: subprocess.Popen[str],
    start: dict[str, Any],
    parts: _Parts,
    done: "queue.SimpleQueue[dict[str, Any] | None]",
) -> None:
    """Send part numbers to a worker until none are left; put its answers into the queue."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        message = json.dumps(start)
        while True:
            process.stdin.write(f"{message}\n")
            process.stdin.flush()
            answer = _answered(process, process.stdout)
            while "rows" in answer:
                done.put(answer)
                answer = _answered(process, process.stdout)
            if "ready" not in answer:
                done.put(answer)
            if "part" not in answer and "ready" not in answer:
                break
            number = parts.next()
            if number is None:
                break
            message = str(number)
    except (OSError, ValueError):
        done.put({"lost": process.poll()})
    finally:
        done.put(None)


def _answered(process: subprocess.Popen[str], lines: IO[str]) -> dict[str, Any]:
    """Return the next answer of a worker, or its exit code if it has ended."""
    line = lines.readline()
    answer: dict[str, Any] = json.loads(line) if line else {"lost": process.wait()}
    return answer


def _error(failure: dict[str, Any]) -> Exception:
    """Return the error of a worker, as it was raised there."""
    if "lost" in failure:
        code = failure["lost"]
        how = f"by signal {-code}" if code is not None and code < 0 else f"with exit code {code}"
        return WorkerFailed(
            f"a worker process ended {how}; run the command again, perhaps with fewer --workers"
        )
    kind = getattr(errors, failure["error"], None)
    if isinstance(kind, type) and issubclass(kind, AncestralError):
        return kind(failure["message"])
    return OSError(failure["number"], failure["message"])
