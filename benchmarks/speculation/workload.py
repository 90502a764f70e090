"""Draw the rows of a model with a proposer and step by step, in turns."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ancestral.engine import AutoregressiveEngine
from ancestral.engine.speculation import (
    Proposer,
    Speculate,
    Speculated,
    Speculation,
    joined,
)
from ancestral.errors import ParityError
from ancestral.sampling import UNFILTERED, Sampling
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import Bound, append, timed
from benchmarks.speculation.rows import FILE, SpeculationRow, line

STEPS = "single steps"
PER_CALL, RATIO = "values/call", "single steps / blocks"
_NEW = 400
_AGREEING = 0.9
"""Least share of rows with the values of single steps; the others must have a near tie."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Rows of a model.

    Attributes:
        name: name of the model, and of what is drawn.
        engine: the model.
        prompts: prompt of each row, [p]; None draws whole events.
        parity: parity of the model on its known answers.
        clock: seconds; those of the processor are lengthened less by other programs, and are the
            same as the wall's for a single thread.
    """

    name: str
    engine: AutoregressiveEngine
    prompts: tuple[list[int], ...] | None
    parity: Parity
    clock: Callable[[], float] = time.perf_counter

    def continued(self, what: str, prompts: Iterable[list[int]]) -> "Workload":
        """Return the rows that continue prompts, [p] each; `what` says in the name which."""
        return replace(self, name=f"{self.name}, {what}", prompts=tuple(prompts))

    def draw(self, index: int, sampling: Sampling, speculate: Speculate) -> "Drawn":
        """Draw one row."""
        begin = self.clock()
        if self.prompts is None:
            classes = self.engine.data.num_classes
            label = None if classes is None else index % classes
            s = self.engine.sample(
                1, label, first_index=index, sampling=sampling, speculate=speculate
            )
            values = self.engine.data.in_order(s.x)[0]
            return Drawn(self.clock() - begin, values, float(s.log_prob[0]), s.speculated)
        prompt = self.prompts[index % len(self.prompts)]
        (row,) = self.engine.generate(
            [prompt],
            min(_NEW, self.engine.data.length - len(prompt)),
            stop=(),
            first_index=index,
            sampling=sampling,
            speculate=speculate,
            prompt_log_p=False,
        )
        seconds = self.clock() - begin
        return Drawn(seconds, row.tokens, float(row.log_p.sum(dtype=np.float64)), row.speculated)


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row: its seconds, values [t], log p in nats, and what speculation did."""

    seconds: float
    values: np.ndarray
    log_p: float
    speculated: Speculated | None


def measure(
    workload: Workload,
    recorder: Recorder,
    proposer: tuple[str, Proposer | Speculation],
    sampling: Sampling = UNFILTERED,
    bounds: Sequence[Bound] = (),
) -> SpeculationRow:
    """Draw rows with a proposer and step by step, in turns, and write their row.

    Args:
        workload: the rows.
        recorder: what all rows of the run share; its rounds are the number of rows.
        proposer: name and proposer.
        sampling: temperature and filters.
        bounds: targets of the values in a call, and of the ratio.

    Raises:
        ParityError: a value differs that is not a near tie, or log p does; nothing is written.
    """
    name, chosen = proposer
    workload.draw(0, sampling, chosen)
    plain, found = [], []
    for index in range(recorder.rounds):
        plain.append(workload.draw(index, sampling, None))
        found.append(workload.draw(index, sampling, chosen))
    same = [bool(np.array_equal(a.values, b.values)) for a, b in zip(plain, found, strict=True)]
    apart = [
        abs(a.log_p - b.log_p) for a, b, alike in zip(plain, found, same, strict=True) if alike
    ]
    parity = replace(workload.parity, sample_nats=max(apart, default=0.0))
    if sum(same) < _AGREEING * len(same):
        raise ParityError(
            f"{workload.name}, {name}: only {sum(same)} of {len(same)} rows agree; run "
            f"`ancestral verify` on the bundle"
        )
    report = joined([each.speculated for each in found if each.speculated is not None])
    rounds = tuple(1e3 * each.seconds for each in found)
    fields = timed(rounds, (STEPS, tuple(1e3 * each.seconds for each in plain)))
    per_call = report.positions / report.calls
    reached = {PER_CALL: per_call, RATIO: fields["ratio"]}
    row = SpeculationRow(
        case=workload.name,
        unit="ms",
        **fields,
        parity=replace(parity, near_ties=parity.near_ties + len(same) - sum(same)),
        machine=recorder.machine,
        commit=recorder.commit,
        date=recorder.date,
        proposer=name,
        temperature=sampling.temperature,
        threads=recorder.threads,
        load_average=recorder.load_average,
        per_call=per_call,
        acceptance=tuple((float(size), share) for size, share in report.acceptance.items()),
        same=sum(same),
        target="; ".join(bound.words for bound in bounds) or None,
        met=all(bound.met(reached[bound.number]) for bound in bounds) if bounds else None,
    )
    append(row, recorder.results / FILE)
    print(line(row), flush=True)
    return row
