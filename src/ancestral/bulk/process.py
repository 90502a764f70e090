"""A worker process: it reads part numbers from standard input and answers each with a line.

Before that, it writes lines with the numbers of rows that it has computed since the last one.

The first line is the start, {"out": ..., "bundle": ..., "data": [...]}: a folder's URL may have
credentials, which a command line would show to every user of the machine.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

from ancestral.bulk.computed import computed, load_engine
from ancestral.bulk.job import require_job
from ancestral.bulk.machine import machine
from ancestral.bulk.parts import Plan
from ancestral.bulk.store import Store
from ancestral.bulk.work import Worker
from ancestral.errors import AncestralError


@dataclass(slots=True)
class _Batches:
    """Rows of the batches of a part, which are reported at most once a second.

    Attributes:
        answer: function that writes a line.
        rows: rows that have not been reported.
        said: time of the last report, in seconds.
    """

    answer: Callable[..., None]
    rows: int = 0
    said: float = field(default_factory=time.monotonic)

    def add(self, rows: int) -> None:
        """Count the rows of a batch, and report them if it is time."""
        self.rows += rows
        if time.monotonic() - self.said >= 1:
            self.say()

    def say(self) -> None:
        """Report the rows now."""
        self.answer(rows=self.rows)
        self.rows, self.said = 0, time.monotonic()


def main() -> None:
    """Run the worker until standard input ends, which it also does if the parent is killed."""
    # What a library prints must not be read as an answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Ctrl-C goes to all processes of a terminal; the parent then ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def answer(**values: Any) -> None:
        answers.write(f"{json.dumps(values)}\n")
        answers.flush()

    try:
        worker = opened(json.loads(sys.stdin.readline()))
        # Until here SIGTERM kills: nothing has been written, and an exception that a handler raises
        # while a library is imported becomes an error of the library.
        signal.signal(signal.SIGTERM, _end)
        answer(ready=True)
        plan = Plan(worker.job)
        for line in sys.stdin:
            part = plan.part(int(line))
            batches = _Batches(answer)
            new = worker.finish(part, batches.add)
            batches.say()
            answer(part=int(line), computed=new)
    except (AncestralError, OSError) as error:
        number = error.errno if isinstance(error, OSError) else None
        answer(error=type(error).__name__, message=str(error), number=number)


def opened(start: dict[str, Any]) -> Worker:
    """Open the folder, the job and the engine.

    Args:
        start: the folder, the bundle and the files of data.

    Raises:
        AncestralError: the folder has no job, or the bundle or the data are not those of the job.
        OSError: the folder cannot be read.
    """
    store = Store.open(start["out"])
    job = require_job(store)
    rows = computed(job, load_engine(job, start["bundle"]), store, start["data"])
    return Worker(job, store, rows, machine(job))


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """End at SIGTERM as Python does: a part that is being written is removed."""
    sys.exit(128 + number)
