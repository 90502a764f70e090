"""Every type of weights of a trained model: its loss on data, and its speed compared with float32.

    python -m benchmarks.precision.losses demo/digits=digits runs/text=test.txt [--variants int8]

Each word is a float32 bundle and its data: a file that `ancestral compare --data` reads, or
`digits` for the test part of the digits. Rows go to results/precision.jsonl.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from ancestral.bundles.bundle import Bundle
from ancestral.bundles.cost import Cost
from ancestral.cli.compared_data import ComparedData, DataOptions
from ancestral.engine import Engine, LatentEngine
from ancestral.engine.losses import compare
from ancestral.errors import AncestralError
from ancestral.files.atomic import sha256
from ancestral.train.data import load_digits
from benchmarks.machine import this_machine
from benchmarks.parity import Parity
from benchmarks.precision.rows import FILE, PrecisionRow, line
from benchmarks.precision.variants import FLOAT32, VARIANTS
from benchmarks.recorder import Recorder
from benchmarks.rows import RESULTS, append, now, timed

BATCHES = (1, 16)
_ROWS = 64
"""Events of a bound, for models with latents, which have no steps."""


def data_of(word: str, engine: Engine, n: int | None) -> tuple[ComparedData, str, str | None]:
    """Return data, their name, and the hash of their file; None for the digits."""
    if word == "digits":
        test = load_digits().test
        labels = None if engine.data.num_classes is None else test.label
        x = engine.data.in_place(test.x)
        return ComparedData(x, None, labels), "digits, test part", None
    file = Path(word)
    options = DataOptions(n, None, None, binarise=False, levels=None)
    return ComparedData.read(file, engine, options), file.name, sha256(file)


def seconds(
    engine: Engine, batch: int, given: ComparedData, index: int, clock: Callable[[], float]
) -> float:
    """Return the seconds of one run: a step of sampling, or a bound of some events."""
    begin = clock()
    if isinstance(engine, LatentEngine):
        engine.bound(given.x[: _ROWS * batch], 16)
        return clock() - begin
    labels = None if engine.data.num_classes is None else 0
    observed = None
    if engine.first_position:
        observed = np.full((batch, engine.data.length), -1, np.int64)
        observed[:, 0] = 0
    engine.sample(batch, labels, first_index=index * batch, observed=observed)
    return (clock() - begin) / engine.data.length


def rows_of(
    source: Path, word: str, recorder: Recorder, variants: list[str], n: int | None
) -> Iterator[PrecisionRow]:
    """Yield the rows of a model: its losses first, then speeds in rounds with float32."""
    base = Engine.load(source, backend="onnxruntime", threads=recorder.threads)
    given, name, digest = data_of(word, base, n)
    # One thread's processor time does not depend on what else runs.
    clock = time.process_time if recorder.threads == 1 else time.perf_counter
    case = Bundle.open(source).manifest.data.name if source.name == "bundle" else source.name

    def cost_of(folder: Path) -> Cost:
        engine = Engine.load(folder, backend="onnxruntime", threads=recorder.threads)
        found = compare(engine, base, given.x, given.labels, lengths=given.lengths)
        return found.cost(name, digest)

    with tempfile.TemporaryDirectory() as folder:
        for variant in variants:
            out = Path(folder) / variant.replace(", ", "-").replace(" ", "-")
            VARIANTS[variant](source, out, None)
            cost = cost_of(out)
            engine = Engine.load(out, backend="onnxruntime", threads=recorder.threads)
            parity = Parity.of(engine.verify())
            for batch in BATCHES:
                pairs = [
                    [seconds(each, batch, given, i, clock) * 1e3 for each in (engine, base)]
                    for i in range(1 + recorder.rounds)
                ][1:]
                ours, theirs = (tuple(part) for part in zip(*pairs, strict=True))
                row = PrecisionRow(
                    case=case,
                    unit="ms/step" if not isinstance(base, LatentEngine) else "ms/call",
                    **timed(ours, (FLOAT32, theirs)),
                    parity=parity,
                    machine=recorder.machine,
                    commit=recorder.commit,
                    date=now(),
                    weights=variant,
                    batch=batch,
                    threads=recorder.threads,
                    load_average=recorder.load_average,
                    weights_mb=Bundle.open(out).weights_file.stat().st_size / 1e6,
                    loss_nats=cost.loss_nats,
                    loss_error=cost.loss_error,
                    bits_per_dim=cost.bits_per_dim,
                    draws_differ=cost.draws_differ,
                )
                append(row, recorder.results / FILE)
                print(line(row), file=sys.stderr)
                yield row


def main(words: list[str] | None = None) -> int:
    """Measure the models on the command line, and return the exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.precision.losses", description=__doc__.splitlines()[0]
    )
    parser.add_argument("models", nargs="+", metavar="BUNDLE=DATA")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=[*VARIANTS])
    parser.add_argument("-n", type=int, help="first events or windows of the data")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=this_machine().cores)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args(words)
    recorder = Recorder.begin(options.threads, options.rounds, options.results)
    rows = []
    try:
        for model in options.models:
            source, _, word = model.partition("=")
            rows += rows_of(Path(source), word, recorder, options.variants, options.n)
    except AncestralError as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps({"rows": len(rows)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
