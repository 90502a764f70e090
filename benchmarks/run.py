"""Measure the cases and append a row for each quantity.

    python -m benchmarks.run                        everything for W1 and W2
    python -m benchmarks.run W2 --batch 1 --only decode host
    python -m benchmarks.run tiny --results DIR     a rehearsal, in seconds

Exit status 1: a run did not keep the probabilities, and its row was not written. The last line is a
JSON summary.
"""

import argparse
import json
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from ancestral.engine import Engine, step_graph
from ancestral.engine.timing import seconds
from ancestral.errors import ParityError
from ancestral.sampling import Sampling
from benchmarks import decode, memory
from benchmarks.cases import CASES, Case, bundle, plain_graph
from benchmarks.decode import Given, Pass, in_turns, prefill_ms, step_ms
from benchmarks.machine import this_machine
from benchmarks.parity import Parity
from benchmarks.plain_loop import PlainLoop
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, Bound, CaseRow, paired_ratio

PARTS = ("decode", "settings", "host", "cache", "memory")
PLAIN = "plain loop"
LEAST_RATIO = 0.95
"""Target for every case: the plain loop's time over ours."""
HOST_SHARE = 0.05
CACHE_SLOWDOWN = 1.10
WHOLE = "whole network"
UNFILTERED_LOOP = "unfiltered"
SAMPLINGS = {
    "temperature 0.8": Sampling(0.8),
    "temperature 0.8, top-p 0.95": Sampling(0.8, top_p=0.95),
    "temperature 0.8, top-k 40": Sampling(0.8, top_k=40),
    "temperature 0.8, min-p 0.05": Sampling(0.8, min_p=0.05),
}
"""Settings that are compared with the unfiltered loop in the same rounds."""
LEAST_TIMES_FASTER = {1: 20, 16: 60}
"""Target by batch size: the whole network's time per position of 28 x 28 over a step's."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A case on its verified engine, with the recorder of its rows."""

    case: Case
    engine: Engine
    parity: Parity
    recorder: Recorder

    @classmethod
    def load(cls, case: Case, recorder: Recorder) -> "Subject":
        """Load a case, and replay its known answers.

        Raises:
            ParityError: a check failed; nothing of this case is timed.
        """
        engine = Engine.load(bundle(case), backend="onnxruntime", threads=recorder.threads)
        report = engine.verify()
        if not report.passed:
            raise ParityError(f"{case.name}: {'; '.join(report.failures)}")
        return cls(case, engine, Parity.of(report), recorder)

    def loop(self, given: Given, *, prompt_log_p: bool = True) -> Callable[[], Pass]:
        """Return the engine's own loop over the given events, bound once."""
        graph = step_graph.graph_of(given.sampling, self.engine.bundle.manifest.graphs)
        binding = self.engine.session(graph).bind({"b": len(given.u), "s": 1})
        return partial(decode.ours, self.engine, binding, given, prompt_log_p=prompt_log_p)

    def parity_of(self, drawn: Pass, first: int = 0) -> Parity:
        """Return the parity of the case and of the values that a loop drew from `first` on."""
        return replace(self.parity, sample_nats=decode.distance(self.engine, drawn, first))


def measure(
    case: Case, recorder: Recorder, batches: tuple[int, ...], parts: Collection[str], loads: int
) -> Iterator[CaseRow]:
    """Measure all parts of a case, on the same engine that is verified.

    Raises:
        ParityError: the probabilities are wrong; earlier rows are already written.
    """
    subject = Subject.load(case, recorder)
    if "decode" in parts:
        for batch in batches:
            yield from (measure_decode if case.plain else measure_cached)(subject, batch)
    if "settings" in parts:
        for batch in batches:
            yield from measure_settings(subject, batch)
    if "host" in parts:
        yield measure_host(subject)
    if "cache" in parts and f"{case.name}-long" in CASES:
        yield from measure_cache(subject, batches)
    if "memory" in parts:
        for batch in batches:
            path = subject.engine.bundle.path
            yield from memory.measured(case, path, recorder, batch, subject.parity, loads)


def measure_decode(subject: Subject, batch: int) -> Iterator[CaseRow]:
    """Measure steps and prefill, and compare them with the baseline's.

    The time of a step is that of a decode pass over its number of steps: 64 for W1 (positions 16 to
    79), 784 for W2. Both loops draw the same positions with the same uniforms, weights, threads and
    ONNX Runtime options. The engine also computes log-probabilities; the baseline does not. The
    prefill is measured a second time without those of the prompt.
    """
    case, recorder, given = subject.case, subject.recorder, Given.of(subject.case, batch)
    baseline = PlainLoop(plain_graph(case), batch, recorder.threads)
    loops = [subject.loop(given), partial(decode.plain, baseline, given)]
    if given.prefix > 1:
        loops.append(subject.loop(given, prompt_log_p=False))
    ours, plain, *unscored = in_turns(loops, recorder.rounds)
    checked = decode.plain(baseline, given, with_log_p=True)
    equal = float((ours[-1].values == checked.values).all(axis=1).mean())
    apart = decode.distance(subject.engine, checked, given.prefix)
    parity = replace(subject.parity_of(ours[-1]), baseline_nats=apart)
    add = partial(recorder.add, case, batch=batch, parity=parity)
    faster = case.large_vocabulary and batch >= 8
    yield add(
        ("decode", "ms/step"),
        rounds=step_ms(ours, given),
        baseline=(PLAIN, step_ms(plain, given)),
        bound=Bound("plain / ours", ">", 1) if faster else Bound("plain / ours", ">=", LEAST_RATIO),
        note=f"both drew the same values in {equal:.0%} of the rows",
    )
    for passes in unscored:
        others = (PLAIN, prefill_ms(plain))
        yield add(("prefill", "ms"), rounds=prefill_ms(ours), baseline=others)
        yield add(
            ("prefill without log p", "ms"),
            rounds=prefill_ms(passes),
            parity=replace(subject.parity_of(passes[-1], given.prefix), baseline_nats=apart),
            baseline=others,
            bound=Bound("plain / ours", ">=", LEAST_RATIO),
        )


def measure_cached(subject: Subject, batch: int) -> Iterator[CaseRow]:
    """Compare cached steps with the whole network, which a loop without caches runs each step."""
    case, given = subject.case, Given.of(subject.case, batch)
    step = subject.loop(given)
    x = step().values
    logits = partial(subject.engine.session("logits").run, {"x": x})
    turns = [step, lambda: Pass(0.0, seconds(logits), x)]
    ours, whole = in_turns(turns, subject.recorder.rounds)
    found = case.published and len(case.event_shape) == 2
    least = LEAST_TIMES_FASTER.get(batch) if found else None
    yield subject.recorder.add(
        case,
        ("decode", "ms/step"),
        batch,
        step_ms(ours, given),
        subject.parity_of(ours[-1]),
        (WHOLE, tuple(each.decode_s * 1e3 for each in whole)),
        None if least is None else Bound("whole / step", ">=", least),
        note=f"published: {case.published}" if case.published else "",
    )


def slowdown(case: Case, batch: int, sampling: Sampling) -> float:
    """Return the target for the time of a step with these settings over an unfiltered one's."""
    if sampling.only_temperature:
        return 1.05
    if case.large_vocabulary:
        return 1.25
    return 1.15 if batch == 1 else 1.2


def measure_settings(subject: Subject, batch: int) -> Iterator[CaseRow]:
    """Compare steps at a temperature, and with a filter, with unfiltered steps."""
    case, given = subject.case, Given.of(subject.case, batch)
    every = [given, *(replace(given, sampling=each) for each in SAMPLINGS.values())]
    plain, *others = in_turns([subject.loop(each) for each in every], subject.recorder.rounds)
    unfiltered = step_ms(plain, given)
    for (name, sampling), passes in zip(SAMPLINGS.items(), others, strict=True):
        times = step_ms(passes, given)
        yield subject.recorder.add(
            case,
            (f"decode, {name}", "ms/step"),
            batch,
            times,
            subject.parity_of(passes[-1]),
            (UNFILTERED_LOOP, unfiltered),
            Bound("ours / unfiltered", "<=", slowdown(case, batch, sampling)),
            ratio=1 / paired_ratio(times, unfiltered),
        )


def measure_host(subject: Subject) -> CaseRow:
    """Measure the host's work between two steps, as a fraction of a step at batch 1."""
    case, recorder, given = subject.case, subject.recorder, Given.of(subject.case, 1)
    (passes,) = in_turns([subject.loop(given)], recorder.rounds)
    steps, host = step_ms(passes, given), decode.host_between_steps(subject.engine, recorder.rounds)
    return recorder.add(
        case,
        ("host between steps", "ms/step"),
        1,
        host,
        subject.parity_of(passes[-1]),
        ("step", steps),
        Bound("host / step", "<", HOST_SHARE) if case.plain else None,
        ratio=float(np.median(host) / np.median(steps)),
        note="an upper bound: the loop over a graph of copies with the same inputs and outputs",
    )


def measure_cache(subject: Subject, batches: tuple[int, ...]) -> Iterator[CaseRow]:
    """Compare steps over all positions of the event with those of a cache 8 times longer."""
    case, recorder = subject.case, subject.recorder
    longer, positions = CASES[f"{case.name}-long"], case.length
    long = Engine.load(bundle(longer), backend="onnxruntime", threads=recorder.threads)
    for batch in [b for b in longer.batches if b in batches]:
        loops = [
            partial(decode.first_steps, engine, binding, batch, positions)
            for engine in (subject.engine, long)
            for binding in [engine.session("step").bind({"b": batch, "s": 1})]
        ]
        own, extended = in_turns(loops, recorder.rounds)
        times = [tuple(p.decode_s * 1e3 / positions for p in each) for each in (own, extended)]
        yield recorder.add(
            case,
            ("cache 8 x longer", "ms/step"),
            batch,
            times[1],
            subject.parity_of(extended[-1]),
            ("own cache", times[0]),
            Bound("longer / own", "<=", CACHE_SLOWDOWN),
            ratio=1 / paired_ratio(times[1], times[0]),
        )


def main(words: list[str] | None = None) -> int:
    """Measure the cases on the command line, and return the exit status."""
    options = _options(words)
    recorder = Recorder.begin(options.threads, options.rounds, options.results)
    rows: list[CaseRow] = []
    try:
        for case in [CASES[name] for name in options.cases]:
            batches = tuple(options.batch or case.batches)
            rows += measure(case, recorder, batches, options.only, options.loads)
    except ParityError as error:
        print(error, file=sys.stderr)
        return 1
    missed = [f"{r.case} {r.quantity} batch {r.batch}" for r in rows if r.met is False]
    print(json.dumps({"rows": len(rows), "missed": missed}))
    return 0


def _options(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "cases", nargs="*", metavar="case", help=f"any of {[*CASES]}; default: W1 W2"
    )
    parser.add_argument(
        "--batch", type=int, nargs="+", help="batch sizes; default: those of the case"
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--loads", type=int, default=3, help="processes that load, after the first")
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    options.cases = options.cases or ["W1", "W2"]
    unknown = sorted(set(options.cases) - set(CASES))
    if unknown:
        parser.error(f"cases: expected any of {list(CASES)}, got {unknown}")
    if min(options.rounds, options.loads, options.threads, *(options.batch or [1])) < 1:
        parser.error("--rounds, --loads, --threads, --batch: expected numbers of at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
