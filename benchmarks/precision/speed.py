"""Sampling with smaller weights, with float32, and with CTranslate2 in int8, in the same rounds.

    python -m benchmarks.precision.speed                GPT-2 small's shape, batches 1, 8, 32
    python -m benchmarks.precision.speed --only W2      4 layers of width 128

The environment of CTranslate2 is that of `make peers`; without it, the rows have no peer. Every
program draws after the same prompts in a process of its own, which is stopped in the others' turns.
Rows go to results/precision.jsonl.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from ancestral.bundles.bundle import Bundle
from ancestral.engine import Engine
from ancestral.engine.losses import compare_log_probs, log_probs
from ancestral.engine.timing import in_process
from ancestral.errors import AncestralError
from ancestral.loss_measurement import Comparison
from ancestral.parity import tolerance
from benchmarks.machine import environment, this_machine
from benchmarks.parity import Parity
from benchmarks.peers.cells import Program
from benchmarks.peers.environments import OURS, PeerError, converted, launch
from benchmarks.peers.process import Process
from benchmarks.peers.worker import Settings
from benchmarks.peers.workloads import WORKLOADS, Workload, folder
from benchmarks.precision.rows import FILE, PrecisionRow, line
from benchmarks.precision.variants import FLOAT32, VARIANTS
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, Bound, append, now, timed

PEER = "ctranslate2"
GOALS: Mapping[tuple[str, str, int], float] = {
    ("W1", "int8, int8 activations", 1): 2.5,
    ("W1", "int4, groups of 128", 1): 2.0,
    ("W1", "int8, int8 activations", 8): 1.25,
    ("W1", "int8, int8 activations", 32): 0.87,
    **{("W2", name, batch): 0.91 for name in VARIANTS for batch in (1, 16)},
}
"""Least times as fast as float32, by workload, type and batch size."""
_EVENTS = 8
"""Samples of the float32 bundle on which the loss is measured."""


def bundles(work: Workload, variants: list[str]) -> dict[str, Path]:
    """Return the folder of each type, float32 first; those that are missing are made."""
    source = converted(OURS, work)
    found = {FLOAT32: source}
    for name in variants:
        path = folder(work) / f"{source.name}-{name.replace(', ', '-').replace(' ', '-')}"
        if not path.exists():
            print(f"{work.name}: making {name}", file=sys.stderr)
            VARIANTS[name](source, path, None)
        found[name] = path
    return found


def measured(
    programs: list[Program], batch: int, new: int, rounds: int
) -> dict[str, tuple[float, ...]]:
    """Return the milliseconds of a value in each round, by program; the first round warms up."""
    times: dict[str, list[float]] = {each.name: [] for each in programs}
    for _ in range(1 + rounds):
        for each in programs:
            times[each.name].append(each.draw(batch, new, Settings())[0] * 1e3 / new)
    return {name: tuple(found[1:]) for name, found in times.items()}


def losses(paths: Mapping[str, Path], threads: int) -> dict[str, tuple[Parity, Comparison]]:
    """Return the parity of each type, and its loss on samples of the float32 bundle."""
    base = Engine.load(paths[FLOAT32], backend="onnxruntime", threads=threads)
    given = log_probs(base, base.sample(_EVENTS, seed=7).x)
    found = {}
    for name, path in paths.items():
        if name != FLOAT32:
            engine = Engine.load(path, backend="onnxruntime", threads=threads)
            found[name] = (parity(engine), compare_log_probs(engine, given))
    return found


def parity(engine: Engine) -> Parity:
    """Return how far log p along the steps, which read codes, is from the parallel graph.

    These bundles lack the graphs that `verify` runs. The limit is that of `verify`.
    """
    samples = engine.sample(_EVENTS, seed=9)
    nats = float(np.abs(samples.log_prob - engine.log_prob(samples.x)).max())
    entry = tolerance(engine.backend.name, engine.precision)
    own = float(np.max(engine.bundle.known_answers()["own_log_prob"]))
    limit = entry.factor * own + entry.nats_per_position * engine.data.length
    return Parity(sample_nats=nats, limit_nats=limit)


def peak_mb(path: Path, work: Workload, threads: int) -> float:
    """Return the peak memory of drawing one row, in 10^6 bytes, in a process of its own."""
    words = (str(path), "1", str(work.prefix), str(threads))
    found = in_process("peak memory", "benchmarks.memory", *words, environment=environment())
    return float(found["peak_mb"])


def rows_of(
    work: Workload, recorder: Recorder, variants: list[str], new: int
) -> Iterator[PrecisionRow]:
    """Yield the rows of a workload: each type at each batch size, then the peer."""
    paths = bundles(work, variants)
    found = losses(paths, recorder.threads)
    with ExitStack() as stack:
        programs = []
        for name, path in paths.items():
            process = stack.enter_context(Process(launch(OURS, name)))
            programs.append(Program(process, str(path), work))
        try:
            process = stack.enter_context(Process(launch(PEER, "int8")))
            programs.append(Program(process, str(converted(PEER, work)), work))
        except PeerError as error:
            print(error, file=sys.stderr)
        for each in programs:
            each.load(recorder.threads)
        peaks = {name: peak_mb(path, work, recorder.threads) for name, path in paths.items()}
        for batch in work.batches:
            times = measured(programs, batch, min(new, work.new), recorder.rounds)
            base, peer = (times.get(name) for name in (OURS, f"{PEER} int8"))
            for name in variants:
                rounds = times[f"{OURS} {name}"]
                parity, loss = found[name]
                goal = GOALS.get((work.name, name, batch))
                bound = None if goal is None else Bound("", ">=", goal)
                fields = timed(rounds, (FLOAT32, base or ()))
                cost = loss.cost("samples of the float32 bundle")
                yield PrecisionRow(
                    case=work.name,
                    unit="ms/step",
                    **fields,
                    parity=parity,
                    machine=recorder.machine,
                    commit=recorder.commit,
                    date=now(),
                    weights=name,
                    batch=batch,
                    threads=recorder.threads,
                    load_average=recorder.load_average,
                    weights_mb=Bundle.open(paths[name]).weights_file.stat().st_size / 1e6,
                    peak_memory_mb=peaks[name],
                    peak_ratio=peaks[name] / peaks[FLOAT32],
                    peer=None if peer is None else f"{PEER} int8",
                    peer_ratio=None if peer is None else float(np.median(np.divide(peer, rounds))),
                    loss_nats=cost.loss_nats,
                    loss_error=cost.loss_error,
                    bits_per_dim=cost.bits_per_dim,
                    draws_differ=cost.draws_differ,
                    target=None if bound is None else bound.words,
                    met=None if bound is None else bound.met(fields["ratio"]),
                )


def main(words: list[str] | None = None) -> int:
    """Measure the workloads on the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.precision.speed", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--only", nargs="+", choices=WORKLOADS, default=["W1"])
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS][1:])
    parser.add_argument("--new", type=int, default=64, help="values to draw at most")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    recorder = Recorder.begin(options.threads, options.rounds, options.results)
    rows = []
    try:
        for name in options.only:
            for row in rows_of(WORKLOADS[name], recorder, options.variants, options.new):
                append(row, recorder.results / FILE)
                print(line(row), file=sys.stderr)
                rows.append(row)
    except AncestralError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"rows": len(rows), "missed": [r.title for r in rows if r.met is False]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
