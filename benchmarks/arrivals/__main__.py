"""Measure a stream whose requests arrive at random.

    python -m benchmarks.arrivals                     a small model: 2 to 3 minutes
    python -m benchmarks.arrivals --case gpt2 --requests 48 --rounds 1
    python -m benchmarks.arrivals --case tiny --requests 20 --results DIR    a rehearsal

First all requests come at once, which gives the capacity: the requests per second while every slot
that becomes free is refilled. Before and after each of these runs, the same prompts and steps are
timed without the stream; the same requests in batches follow. Then requests arrive at 50, 80 and
95% of the capacity, or at each `--rate`. Exit status 1: a run did not keep the probabilities, and
its row was not written.
"""

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ancestral.engine import AutoregressiveEngine
from ancestral.errors import InvalidInput, ParityError
from benchmarks.arrivals import costs, runs
from benchmarks.arrivals.agreement import checked
from benchmarks.arrivals.rows import FILE, ArrivalsRow, Percentiles, line
from benchmarks.arrivals.runs import Drawn, Run
from benchmarks.arrivals.workload import Workload
from benchmarks.cases import CASES, Case
from benchmarks.machine import this_machine
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, Bound, append, timed
from benchmarks.run import Subject

LOADS = (0.5, 0.8, 0.95)
"""Rates of arrivals, as shares of the capacity."""
TARGET = Bound("allowed / taken", ">=", 0.9)
BATCHES = "batches"


@dataclass(frozen=True, slots=True)
class Bench:
    """A verified engine and the workload that it runs.

    Attributes:
        subject: case, engine, parity and recorder.
        engine: the subject's engine.
        workload: requests and their arrivals.
        slots: number of slots.
        seed: seed of the workload.
    """

    subject: Subject
    engine: AutoregressiveEngine
    workload: Workload
    slots: int
    seed: int

    @classmethod
    def load(cls, case: Case, recorder: Recorder, requests: int, slots: int, seed: int) -> "Bench":
        """Load and verify a case, and draw its workload.

        Raises:
            ParityError: the bundle does not keep the probabilities.
            InvalidInput: the case has too few positions.
        """
        subject = Subject.load(case, recorder)
        engine = subject.engine
        assert isinstance(engine, AutoregressiveEngine)
        return cls(subject, engine, Workload.draw(engine.data, requests, seed), slots, seed)

    def row(
        self,
        measured: list[Run],
        expected: tuple[Drawn, ...],
        rate: tuple[float, float] | None = None,
        batches: tuple[float, ...] = (),
        allowed: tuple[float, ...] = (),
    ) -> ArrivalsRow:
        """Write the row of some runs at the same rate, and print it.

        Args:
            measured: the runs.
            expected: what each request drew in batches.
            rate: load and requests per second; None if all requests came at once.
            batches: seconds of the batches in each round.
            allowed: time that steps and prompts allow over the time taken, in each round.

        Raises:
            ParityError: a run did not keep the probabilities; no row is written.
        """
        recorder, parity = self.subject.recorder, self.subject.parity
        for run in measured:
            parity = checked(self.engine, parity, self.workload.requests, run.drawn, expected)
        traces = [run.trace for run in measured]
        seconds = tuple(trace.seconds for trace in traces)
        load, each = rate or (None, None)
        row = ArrivalsRow(
            case=self.subject.case.name,
            unit="s",
            **timed(seconds, (BATCHES, batches) if batches else None),
            parity=parity,
            machine=recorder.machine,
            commit=recorder.commit,
            date=recorder.date,
            load=load,
            rate=each,
            slots=self.slots,
            requests=len(self.workload.requests),
            seed=self.seed,
            threads=recorder.threads,
            load_average=recorder.load_average,
            values_per_second=float(np.median([trace.values / trace.seconds for trace in traces])),
            first_value=_percentiles([trace.first_value for trace in traces]),
            between_values=_percentiles([trace.between for trace in traces]),
            between_deltas=_percentiles([trace.gaps for trace in traces]),
            idle_share=float(np.median([trace.idle_share for trace in traces])),
            allowed=allowed,
            target=TARGET.words if allowed else None,
            met=TARGET.met(float(np.median(allowed))) if allowed else None,
        )
        append(row, recorder.results / FILE)
        print(line(row), flush=True)
        return row


def _percentiles(parts: list[np.ndarray]) -> Percentiles:
    """Return the 50th and 95th percentile of some seconds, in ms; 0 if there are none."""
    joined = np.concatenate(parts)
    p50, p95 = np.percentile(joined, (50, 95)) * 1e3 if len(joined) else (0.0, 0.0)
    return float(p50), float(p95)


def measure(bench: Bench, rates: list[float] | None = None) -> list[ArrivalsRow]:
    """Measure a workload whose requests all come at once, then at each rate.

    Args:
        bench: engine and workload.
        rates: requests per second; None takes LOADS of the capacity.

    Raises:
        ParityError: a run did not keep the probabilities; earlier rows are already written.
    """
    engine, workload, slots = bench.engine, bench.workload, bench.slots
    runs.at_once(engine, Workload.draw(engine.data, slots, bench.seed), slots)
    full: list[Run] = []
    batches: list[float] = []
    allowed: list[float] = []
    expected: tuple[Drawn, ...] = ()
    for turn in range(bench.subject.recorder.rounds):
        before = costs.measure(engine, workload, slots, turn)
        run = runs.at_once(engine, workload, slots)
        after = costs.measure(engine, workload, slots, turn)
        taken, expected = runs.in_batches(engine, workload, slots)
        full.append(run)
        batches.append(taken)
        allowed.append((before.share(run.trace) + after.share(run.trace)) / 2)
    rows = [bench.row(full, expected, None, tuple(batches), tuple(allowed))]
    capacity = float(np.median([run.trace.capacity for run in full]))
    for rate in rates or [load * capacity for load in LOADS]:
        run = runs.arriving(engine, workload, slots, rate)
        rows.append(bench.row([run], expected, (rate / capacity, rate)))
    return rows


def main(words: list[str] | None = None) -> int:
    """Measure the case on the command line, and return the exit status."""
    options = _options(words)
    recorder = Recorder.begin(options.threads, options.rounds, options.results)
    case = CASES[options.case]
    try:
        bench = Bench.load(case, recorder, options.requests, options.slots, options.seed)
        rows = measure(bench, options.rate)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    except InvalidInput as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"rows": len(rows), "missed": [r.title for r in rows if r.met is False]}))
    return 0


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks.arrivals", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--case", choices=[*CASES], default="llama", metavar="case")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--requests", type=int, default=160, help="more than there are slots")
    parser.add_argument("--rate", type=float, nargs="+", help="requests per second")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3, help="runs with all requests at once")
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    if min(options.rounds, options.threads, options.slots) < 1:
        parser.error("--rounds, --threads, --slots: expected numbers of at least 1")
    if options.seed < 0:
        parser.error(f"--seed: expected a number of at least 0, got {options.seed}")
    if options.requests <= options.slots:
        parser.error(f"--requests: expected more than {options.slots}, got {options.requests}")
    for rate in options.rate or []:
        if not (rate > 0 and math.isfinite(rate)):
            parser.error(f"--rate: expected positive numbers, got {rate}")
    return options


if __name__ == "__main__":
    sys.exit(main())
