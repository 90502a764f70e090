"""All cells of a workload: processes are started, models compared, and rows made."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.machine import Machine, commit
from benchmarks.parity import Parity
from benchmarks.peers.cells import SETTINGS, Program, attempt, limit_nats, measure, same_model
from benchmarks.peers.environments import OURS, PeerError, launch
from benchmarks.peers.process import Process
from benchmarks.peers.rows import AHEAD, PeerResult, PeerRow
from benchmarks.peers.workloads import Workload
from benchmarks.rows import now, timed


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run measures.

    Attributes:
        machine: machine of the run.
        rounds: number of rounds of each cell.
        threads: numbers of threads that each program is tried with.
        batches: batch sizes; empty for those of the workload.
        new: largest number of values drawn in each row; None for that of the workload.
    """

    machine: Machine
    rounds: int
    threads: tuple[int, ...]
    batches: tuple[int, ...] = ()
    new: int | None = None


def compare(
    work: Workload, folders: Mapping[str, str], absent: Mapping[str, str], plan: Plan
) -> Iterator[PeerRow]:
    """Measure all cells of a workload.

    Args:
        work: the workload.
        folders: folder of each program's model; the first program is ours.
        absent: reason of each peer that has no model.
        plan: what to measure.

    Raises:
        PeerError: ours failed.
    """
    out = [PeerResult(name=name, versions={}, reason=reason) for name, reason in absent.items()]
    with ExitStack() as stack:
        programs = [
            Program(stack.enter_context(Process(launch(name))), folder, work)
            for name, folder in folders.items()
        ]
        for each in programs:
            attempt(each, lambda each=each: each.load(plan.threads[0]))
        if programs[0].result.reason:
            raise PeerError(f"{OURS}: {programs[0].result.reason}")
        same_model(programs)
        out += [each.result for each in programs if each.result.reason]
        programs = [each for each in programs if not each.result.reason]
        for batch in plan.batches or work.batches:
            yield from _batch(programs, batch, plan, out)


def _worst(peers: Sequence[PeerResult]) -> float | None:
    """Return the largest difference of log p of the peers that were measured; None without any."""
    nats = [each.nats for each in peers if each.rounds and each.nats is not None]
    return max(nats, default=None)


def _batch(
    programs: Sequence[Program], batch: int, plan: Plan, out: Sequence[PeerResult]
) -> Iterator[PeerRow]:
    """Measure every way of drawing at one batch size, with threads chosen once."""
    work = programs[0].work
    new = min(plan.new or work.new, work.new)
    before = {each.name: each.result for each in programs}
    for each in programs:
        attempt(each, lambda each=each: each.choose_threads(batch, new, plan.threads))
    chosen = {each.name: each.result for each in programs}
    for sampling, settings in SETTINGS.items():
        load = round(os.getloadavg()[0], 2)
        for each in programs:
            each.result = chosen[each.name]
        ours, *peers = measure(programs, batch, new, settings, plan.rounds)
        best = min((each for each in peers if each.rounds), key=lambda each: each.ms, default=None)
        numbers = timed(ours.rounds, None if best is None else (best.name, best.rounds))
        ratio = numbers["ratio"]
        yield PeerRow(
            case=work.name,
            unit="ms/step",
            **numbers,
            parity=Parity(
                max_abs_nats=_worst(peers),
                limit_nats=limit_nats(work),
                reference="log p of given values",
            ),
            machine=plan.machine,
            commit=commit(),
            date=now(),
            batch=batch,
            sampling=sampling,
            prefix=work.prefix,
            new=new,
            threads=ours.threads,
            drawn_nats=ours.drawn_nats,
            load_average=load,
            peers=(*peers, *out),
            target=None if ratio is None else AHEAD.words,
            met=None if ratio is None else AHEAD.met(ratio),
        )
    for each in programs:
        each.result = before[each.name]
