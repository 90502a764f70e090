"""Watched worker processes: a case that ends its process or takes too long is reported."""

import json
import os
import queue
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SECONDS = 20.0
"""Limit on the processor time of a case; its limit on the clock is 10 times as long."""
_LOOKS = 0.25
"""Seconds between two checks of a worker that has not answered."""

Case = tuple[str, int]


@dataclass(slots=True)
class Outcomes:
    """Results of the cases.

    Attributes:
        codes: number of cases for each kind and its exit codes.
        problems: a message for each case that crashed, hung, or was not answered as it should be.
    """

    codes: Counter[tuple[str, str]] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return self.codes.total()

    def table(self) -> str:
        """Return a table of the exit codes for each kind."""
        kinds = sorted({kind for kind, _ in self.codes})
        lines = []
        for kind in kinds:
            found = sorted((end, n) for (each, end), n in self.codes.items() if each == kind)
            lines.append(f"{kind:14} " + ", ".join(f"{end}: {n}" for end, n in found))
        return "\n".join(lines)


def run_cases(cases: Iterable[Case], sources: Path, workers: int = 2) -> Outcomes:
    """Run cases in worker processes.

    Args:
        cases: kinds and numbers of the cases.
        sources: folder that `make_sources` filled.
        workers: number of processes that run at the same time.
    """
    waiting: queue.SimpleQueue[Case] = queue.SimpleQueue()
    for case in cases:
        waiting.put(case)
    outcomes, lock = Outcomes(), threading.Lock()
    threads = [
        threading.Thread(target=_feed, args=(waiting, sources, outcomes, lock))
        for _ in range(workers)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def _feed(
    waiting: "queue.SimpleQueue[Case]", sources: Path, outcomes: Outcomes, lock: threading.Lock
) -> None:
    """Give cases to a worker until there are none left; start a new one after a crash."""
    worker: _Worker | None = None
    while True:
        try:
            kind, number = waiting.get_nowait()
        except queue.Empty:
            break
        worker = worker or _Worker(sources)
        answer = worker.ask(kind, number)
        end = " ".join(map(str, answer.get("codes", ["none"])))
        with lock:
            outcomes.codes[kind, end] += 1
            if answer["problem"]:
                outcomes.problems.append(
                    f"{kind} {number} ({answer.get('changed', '?')}): {answer['problem']}"
                )
        if "codes" not in answer:
            worker.end()
            worker = None
    if worker is not None:
        worker.end()


class _Worker:
    """One process, and a thread that reads its answers."""

    def __init__(self, sources: Path) -> None:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
            "OMP_NUM_THREADS": "1",
            "XDG_CACHE_HOME": str(sources / "cache"),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "tests.fuzz.worker", str(sources)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            text=True,
        )
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._warm = False

    def ask(self, kind: str, number: int) -> dict[str, object]:
        """Return the worker's answer to a case; without exit codes if it crashed or hung."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{kind} {number}\n")
        self._process.stdin.flush()
        # The first answer also waits for the imports.
        allowed = _SECONDS if self._warm else 6 * _SECONDS
        begun, looks = self._processor_seconds(), 0
        while True:
            try:
                line = self._answers.get(timeout=_LOOKS)
            except queue.Empty:
                looks += 1
                taken = self._processor_seconds() - begun
                if taken < allowed and looks * _LOOKS < 10 * allowed:
                    continue
                return {"problem": f"hung: no answer after {taken:.0f} s of processor time"}
            if not line:
                return {"problem": f"crashed: exit status {self._process.wait()}"}
            self._warm = True
            answer: dict[str, object] = json.loads(line)
            return answer

    def end(self) -> None:
        """Stop the process."""
        self._process.kill()
        # Leaving the block closes the pipes and waits.
        with self._process:
            self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _processor_seconds(self) -> float:
        try:
            fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return 0.0
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
