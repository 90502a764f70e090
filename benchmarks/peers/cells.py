"""A cell of the comparison: a workload, batch size and way of drawing, for all programs in turn."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.environments import PeerError
from benchmarks.peers.process import Process
from benchmarks.peers.rows import PeerResult
from benchmarks.peers.worker import Settings
from benchmarks.peers.workloads import Workload

SETTINGS: Mapping[str, Settings] = {
    "T = 1": Settings(),
    "T = 0.8, top-p 0.95": Settings(0.8, 0.95),
}
"""The ways of drawing that are compared, by their names in the rows."""
TRIAL = 8
"""A trial of several rows draws one in 8 of the values, and 8 at least."""
TRIALS = 2
"""Trials of each number of threads, after a warm-up; the shortest counts."""
CONTENDER = 2.0
"""A peer that takes longer than this many times the fastest peer's first round runs only that."""
SCORED = 64
"""Largest number of given values whose log-probabilities are compared."""
LIMIT_PER_VALUE = 1e-4
"""Limit of a difference of log p, in nats per value, which our tests of checkpoints allow too."""
ERRORS = 5.0
"""Standard errors by which the mean log p of drawn rows may differ between two programs."""
LEAST_NATS = 0.5
"""Difference of these means, in nats per value, that is always allowed."""
LEAST_ROWS, MOST_ROWS = 4, 8
"""Rows whose drawn values are scored. Values of a row depend on each other, so the standard error
is that of the rows' means, and fewer rows are not compared."""
T = TypeVar("T")


@dataclass(slots=True)
class Program:
    """A program in its process, with the model of one workload.

    Attributes:
        process: its process.
        folder: folder that it loads.
        work: workload of the folder.
        threads: threads with which the model is loaded; 0 before.
        result: its result in the cell that is measured.
    """

    process: Process
    folder: str
    work: Workload
    threads: int = 0
    result: PeerResult = field(default_factory=lambda: PeerResult(name="", versions={}))

    @property
    def name(self) -> str:
        """Name of the program."""
        return self.process.name

    def load(self, threads: int) -> None:
        """Load the model, unless it is loaded with this number of threads.

        Raises:
            PeerError: the program failed.
        """
        if self.threads != threads:
            answer = self.process.ask("load", folder=self.folder, threads=threads)
            self.threads = threads
            self.result = replace(self.result, name=self.name, versions=answer["versions"])

    def draw(self, batch: int, new: int, settings: Settings) -> tuple[float, NDArray[np.int64]]:
        """Draw `new` values in each row; return the seconds, and the values [batch, new].

        Raises:
            PeerError: the program failed, or drew a value that the model does not have.
        """
        answer = self.process.ask(
            "draw",
            prompt=self.work.prompt(batch).tolist(),
            new=new,
            temperature=settings.temperature,
            top_p=settings.top_p,
        )
        tokens = np.array(answer["tokens"], np.int64)
        if tokens.min() < 0 or tokens.max() >= self.work.levels:
            raise PeerError(f"{self.name}: drew a value outside 0 .. {self.work.levels - 1}")
        return float(answer["seconds"]), tokens

    def log_p(self, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return log p of all tokens [n] except the first, in nats, [n - 1].

        Raises:
            PeerError: the program failed.
        """
        return np.array(self.process.ask("log_p", tokens=tokens.tolist())["log_p"], np.float64)

    def choose_threads(self, batch: int, new: int, counts: Sequence[int]) -> None:
        """Load the model with the number of threads that has the shortest trial.

        One row is drawn as a whole, because late positions take longer than early ones.

        Raises:
            PeerError: the program failed.
        """
        if batch > 1:
            new = min(new, max(TRIAL, new // TRIAL))
        times = {}
        for threads in counts:
            self.load(threads)
            # The first one is a warm-up.
            trials = [self.draw(batch, new, Settings())[0] for _ in range(1 + TRIALS)]
            times[threads] = min(trials[1:])
        self.load(min(times, key=lambda threads: times[threads]))


def same_model(programs: Sequence[Program]) -> None:
    """Compare log p of a given sequence with ours, the first program, and keep the difference.

    The difference is the largest over the beginnings of the sequence. A program that fails, or
    differs by more than the limit, is left out.

    Raises:
        PeerError: ours failed.
    """
    ours, *peers = programs
    given = ours.work.given(SCORED)
    exact = ours.log_p(given).cumsum()
    limit = limit_nats(ours.work)
    for peer in [each for each in peers if not each.result.reason]:
        own = attempt(peer, lambda peer=peer: peer.log_p(given))
        if own is None:
            continue
        nats = float(np.abs(own.cumsum() - exact).max())
        peer.result = replace(peer.result, nats=nats)
        if not nats <= limit:
            leave_out(peer, f"log p of given values differs by {nats:.2g} nats, limit {limit:.2g}")


def limit_nats(work: Workload) -> float:
    """Return the limit of a difference in log p of the given sequence, in nats."""
    return LIMIT_PER_VALUE * (len(work.given(SCORED)) - 1)


def measure(
    programs: Sequence[Program], batch: int, new: int, settings: Settings, rounds: int
) -> tuple[PeerResult, ...]:
    """Measure a cell: rounds in which the programs draw one after the other.

    Args:
        programs: the programs; the first one is ours. Results with a reason are left out.
        batch: batch size.
        new: number of values to draw in each row.
        settings: way of drawing.
        rounds: number of rounds of ours, and of each peer near the fastest.

    Raises:
        PeerError: ours failed.
    """
    ours = programs[0]
    running = [each for each in programs if not each.result.reason]
    for each in running:
        attempt(each, lambda each=each: each.draw(batch, min(TRIAL, new), settings))
    own: NDArray[np.float64] | None = None
    for turn in range(rounds):
        for each in [each for each in running if not each.result.reason]:
            drawn = attempt(each, lambda each=each: each.draw(batch, new, settings))
            if drawn is None:
                continue
            seconds, tokens = drawn
            taken = (*each.result.rounds, seconds * 1e3 / new)
            each.result = replace(each.result, threads=each.threads, rounds=taken)
            if turn == 0:
                scores = _scores(ours, batch, tokens)
                own = scores if each is ours else own
                _check_draws(each, scores, own)
        if turn == 0:
            running = _contenders(running)
    if ours.result.reason:
        raise PeerError(ours.result.reason)
    return tuple(each.result for each in programs)


def _scores(ours: Program, batch: int, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the mean log p of the drawn values of some rows, under our model, in nats, [rows]."""
    prompt = ours.work.prompt(batch)
    rows = [np.concatenate(pair) for pair in zip(prompt, tokens, strict=True)][:MOST_ROWS]
    return np.array([ours.log_p(row)[prompt.shape[1] - 1 :].mean() for row in rows])


def _check_draws(
    program: Program, scores: NDArray[np.float64], own: NDArray[np.float64] | None
) -> None:
    """Keep the mean -log p of drawn values; leave a program out if it draws otherwise than ours."""
    mean = -float(scores.mean())
    program.result = replace(program.result, drawn_nats=mean)
    if own is None or len(own) < LEAST_ROWS:
        return
    error = float(np.hypot(_standard_error(scores), _standard_error(own)))
    if abs(mean + own.mean()) > max(ERRORS * error, LEAST_NATS):
        leave_out(
            program,
            f"draws from another distribution: -log p is {mean:.2f} nats per value, "
            f"ours {-own.mean():.2f}",
        )


def _standard_error(scores: NDArray[np.float64]) -> float:
    return float(scores.std(ddof=1) / len(scores) ** 0.5)


def _contenders(programs: Sequence[Program]) -> list[Program]:
    """Return ours, and the peers whose first round was not much longer than the fastest peer's."""
    ours, *peers = programs
    peers = [each for each in peers if each.result.rounds]
    limit = CONTENDER * min((each.result.rounds[0] for each in peers), default=0.0)
    return [ours, *(each for each in peers if each.result.rounds[0] <= limit)]


def attempt(program: Program, action: Callable[[], T]) -> T | None:
    """Return the result of an action; if it fails, None, and the program is left out."""
    try:
        return action()
    except PeerError as error:
        leave_out(program, str(error).removeprefix(f"{program.name}: "))
        return None


def leave_out(program: Program, reason: str) -> None:
    """Drop what a program measured in this cell, and keep the reason."""
    program.result = replace(program.result, name=program.name, rounds=(), threads=0, reason=reason)
