"""Time single rows in blocks of proposals, compared with the same rows step by step.

    python -m benchmarks.speculation digits                        the model of `make demo`
    python -m benchmarks.speculation gpt2 --rounds 5               GPT-2 small's shape
    python -m benchmarks.speculation BUNDLE --data digits-28.npz   a model of images, and its data
    python -m benchmarks.speculation BUNDLE --draft DRAFT --corpus FOLDER --prompts FOLDER
    python -m benchmarks.speculation BUNDLE --repeated-code --corpus FOLDER

The folders of a text model hold UTF-8 files; a prompt is the beginning of one. Repeated code is a
function of a test file of Python's standard library under three names. Rows are appended to
results/speculation.jsonl, each with its parity. Exit status 1: a proposer changed the values of
more than a tenth of the rows, or a log-probability, and its row was not written.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from ancestral.engine import AutoregressiveEngine, Engine, Sampling
from ancestral.engine.speculation import Draft, Jacobi, Ngram, Proposer, Speculation, Table
from ancestral.errors import InvalidInput, ParityError
from ancestral.train.data import Dataset, load_digits, load_npz
from ancestral.train.data.python_source import python_texts
from benchmarks.cases import CASES, bundle
from benchmarks.machine import CHECKOUT, this_machine
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, Bound
from benchmarks.speculation.repeated_code import prompts
from benchmarks.speculation.rows import SpeculationRow
from benchmarks.speculation.workload import PER_CALL, RATIO, Workload, measure

TEMPERATURES = (1.0, 0.8, 0.6, 0.4, 0.2)
REPEATED = (1.0, 0.6, 0.0)
"""Temperatures of repeated code."""
_PROMPT = 200
"""Bytes of a prompt."""


def opened(name: str, path: Path, threads: int) -> Workload:
    """Open and verify a bundle; its rows are whole events.

    Raises:
        ParityError: the bundle does not keep the probabilities.
    """
    engine = AutoregressiveEngine.load(path, backend="onnxruntime", threads=threads)
    report = engine.verify()
    if not report.passed:
        raise ParityError(f"{name}: {'; '.join(report.failures)}")
    clock = time.process_time if threads == 1 else time.perf_counter
    return Workload(name, engine, None, Parity.of(report), clock)


def digits(recorder: Recorder) -> Iterator[SpeculationRow]:
    """Yield the rows of the digits; the table counts the training data."""
    workload = opened("digits", CHECKOUT / "demo" / "digits", recorder.threads)
    return images(workload, load_digits(), recorder)


def images(workload: Workload, data: Dataset, recorder: Recorder) -> Iterator[SpeculationRow]:
    """Yield the rows of a model of images; the table counts the training part of the data."""
    space, part = workload.engine.data, data.train
    table = Table(space.in_place(part.x), space, part.label)
    best = (Bound(PER_CALL, ">=", 3.0), Bound(RATIO, ">=", 1.5))
    yield measure(workload, recorder, ("jacobi", Jacobi()))
    yield measure(workload, recorder, ("table", table))
    yield measure(workload, recorder, ("jacobi+table", Jacobi(table)), bounds=best)
    for block in (8, 16):
        fixed = Speculation(Jacobi(table), block)
        yield measure(workload, recorder, (f"jacobi+table, blocks of {block}", fixed))


def gpt2(recorder: Recorder) -> Iterator[SpeculationRow]:
    """Yield the rows of GPT-2 small's shape: all proposals right, and none."""
    case = CASES["W1"]
    workload = opened("W1", bundle(case), recorder.threads)
    random = np.random.default_rng(0).integers(0, case.levels, (recorder.rounds, case.prefix))
    workload = replace(workload, prompts=tuple(random.tolist()))
    earlier = [
        np.concatenate([prompt, workload.draw(i, Sampling(), None).values])
        for i, prompt in enumerate(random)
    ]
    again = (Bound(RATIO, ">=", 3.5),)
    yield measure(workload, recorder, ("ngram, the same rows", Ngram(earlier)), bounds=again)
    nothing = (Bound(RATIO, ">=", 0.95),)
    yield measure(workload, recorder, ("ngram, no corpus", Ngram()), bounds=nothing)


def text(
    workload: Workload, options: argparse.Namespace, recorder: Recorder
) -> Iterator[SpeculationRow]:
    """Yield the rows of a text model: repeated code, or whole events and then continuations."""
    tokenizer = workload.engine.tokenizer()
    proposers: list[tuple[str, Proposer]] = [("jacobi", Jacobi()), ("ngram", Ngram())]
    goals = {"ngram, training files": 2.0, "draft": 2.5}
    if options.corpus is not None:
        texts = [tokenizer.encode(each) for each in _texts(options.corpus)]
        proposers.append(("ngram, training files", Ngram(texts)))
    if options.draft is not None:
        draft = Engine.load(options.draft, backend="onnxruntime", threads=recorder.threads)
        proposers.append(("draft", Draft(draft)))
    if options.repeated_code:
        encoded = map(tokenizer.encode, prompts(python_texts("test")))
        yield from repeated_code(workload.continued("repeated code", encoded), proposers, recorder)
        return
    for temperature in TEMPERATURES:
        for proposer in proposers:
            yield measure(workload, recorder, proposer, Sampling(temperature=temperature))
    for label, chosen in proposers:
        if label in goals:
            fixed = (f"{label}, blocks of 8", Speculation(chosen, 8))
            yield measure(workload, recorder, fixed, bounds=(Bound(PER_CALL, ">=", goals[label]),))
    if options.prompts is not None:
        beginnings = (tokenizer.encode(each)[:_PROMPT] for each in _texts(options.prompts))
        continued = workload.continued("continued", beginnings)
        for proposer in proposers:
            yield measure(continued, recorder, proposer)


def repeated_code(
    workload: Workload, proposers: list[tuple[str, Proposer]], recorder: Recorder
) -> Iterator[SpeculationRow]:
    """Yield the rows of prompts of code that repeats itself; n-grams should halve the time."""
    for temperature in REPEATED:
        for proposer in proposers:
            bounds = (Bound(RATIO, ">=", 2.0),) if proposer[0].startswith("ngram") else ()
            sampling = Sampling(temperature=temperature)
            yield measure(workload, recorder, proposer, sampling, bounds)


def _texts(folder: Path) -> list[str]:
    return [file.read_text() for file in sorted(folder.rglob("*")) if file.is_file()]


def main(words: list[str] | None = None) -> int:
    """Measure the model on the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.speculation", description=__doc__.splitlines()[0]
    )
    parser.add_argument("case", help="digits, gpt2, or the bundle of a model of images or text")
    parser.add_argument("--data", type=Path, help="npz file whose training part a table counts")
    parser.add_argument("--draft", type=Path, help="smaller bundle of the same text")
    parser.add_argument("--corpus", type=Path, help="folder of texts to copy from")
    parser.add_argument("--prompts", type=Path, help="folder of texts to continue")
    parser.add_argument(
        "--repeated-code", action="store_true", help="continue code that repeats itself, only"
    )
    parser.add_argument("--rounds", type=int, default=20, help="rows for each proposer")
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    if min(options.rounds, options.threads) < 1:
        parser.error("--rounds, --threads: expected numbers of at least 1")
    recorder = Recorder.begin(options.threads, options.rounds, options.results)
    cases = {"digits": digits, "gpt2": gpt2}
    try:
        if options.case in cases:
            rows = list(cases[options.case](recorder))
        else:
            path = Path(options.case)
            workload = opened(path.name, path, recorder.threads)
            if options.data is not None:
                rows = list(images(workload, load_npz(options.data), recorder))
            else:
                rows = list(text(workload, options, recorder))
    except (ParityError, InvalidInput) as error:
        print(error, file=sys.stderr)
        return 1 if isinstance(error, ParityError) else 2
    print(json.dumps({"rows": len(rows), "missed": [r.title for r in rows if r.met is False]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
