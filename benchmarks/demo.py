"""The whole way on real data: train, export, verify, sample and bench the handwritten digits.

    python -m benchmarks.demo

It leaves demo/digits, a bundle, and demo/digits.png, samples beside real digits. It downloads
nothing: scikit-learn ships the images.
"""

import sys
import time
from pathlib import Path

import numpy as np
import torch

from ancestral.cli.bench import measure, speed_table
from ancestral.cli.evaluation import evaluation_table
from ancestral.cli.installed import installed_backends
from ancestral.cli.main import guarded
from ancestral.cli.output import show
from ancestral.cli.verify import parity_reports, parity_table
from ancestral.engine import Engine
from ancestral.errors import ParityError
from ancestral.export.bundle import export_bundle
from ancestral.files import write_atomically
from ancestral.pictures import beside, grid, png
from ancestral.train.data import Dataset, load_digits
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.progress import ProgressBar
from ancestral.train.recipes import DEMO
from ancestral.train.state import Look
from ancestral.train.training import train

FOLDER = Path("demo")
CHECKPOINT, BUNDLE, PICTURE = FOLDER / "checkpoint", FOLDER / "digits", FOLDER / "digits.png"
SEED = 0
DRAWN, REAL = 10, 4
"""Samples, and real digits beside them, of each class."""
BATCHES = (1, 16, 64)
THREADS = 1
"""A second one gains little on a network this small, and costs much where the cores are shared."""


def main() -> None:
    """Run the stages; each tells what it begins and what it found."""
    start = time.monotonic()
    torch.set_num_threads(THREADS)
    FOLDER.mkdir(exist_ok=True)
    data = load_digits()
    model = _train(data)
    _export(model, data)
    _verify()
    _draw(data)
    _bench()
    print(f"\nDone in {time.monotonic() - start:.0f} s.")
    print(f"checkpoint  {CHECKPOINT}")
    print(f"bundle      {BUNDLE}")
    print(f"picture     {PICTURE}")


def _train(data: Dataset) -> AutoregressiveModel:
    steps = DEMO.training.steps
    _begin(1, f"training recipe '{DEMO.name}', {steps} steps on {len(data.train)} real images")
    with ProgressBar(DEMO.name, steps) as bar:

        def progress(step: int, look: Look | None) -> None:
            bar(step, look)
            if look is not None and not sys.stderr.isatty():
                print(f"  step {step}: validation {look.validation_bits:.3f} bits/dim", flush=True)

        result = train(DEMO, data, CHECKPOINT, seed=SEED, progress=progress)
    print(f"  {result.summary.seconds:.0f} s; weights of step {result.summary.best_step} are kept")
    show(evaluation_table(result.model, data))
    return result.model


def _export(model: AutoregressiveModel, data: Dataset) -> None:
    _begin(2, "exporting to ONNX, with known answers from float64 PyTorch")
    start = time.monotonic()
    prior = data.label_log_prior()
    export_bundle(
        model, BUNDLE, label_prior=None if prior is None else np.exp(prior).tolist(), overwrite=True
    )
    size = sum(file.stat().st_size for file in BUNDLE.rglob("*") if file.is_file())
    print(f"  {time.monotonic() - start:.0f} s; {size / 1e6:.1f} MB")


def _verify() -> None:
    backends = installed_backends()
    _begin(3, f"verifying on {' and '.join(backends)}")
    reports = parity_reports(BUNDLE, backends, threads=THREADS)
    show(parity_table(reports))
    failures = [f"{report.backend}: {failure}" for report in reports for failure in report.failures]
    if failures:
        raise ParityError("; ".join(failures))


def _draw(data: Dataset) -> None:
    """A row for each digit: samples to the left, real test digits to the right."""
    _begin(4, f"drawing {DRAWN} samples of each digit on onnxruntime, seed {SEED}")
    start = time.monotonic()
    classes, shape = data.spec.num_classes or 1, data.spec.event_shape
    samples = Engine.load(BUNDLE, threads=THREADS).sample(
        DRAWN * classes, labels=np.repeat(np.arange(classes), DRAWN), seed=SEED
    )
    assert data.test.label is not None
    chosen = [np.flatnonzero(data.test.label == y)[:REAL] for y in range(classes)]
    real = data.test.x[np.concatenate(chosen)].reshape(-1, *shape)
    left = grid(samples.x, data.spec.levels, columns=DRAWN)
    right = grid(real, data.spec.levels, columns=REAL)
    write_atomically(PICTURE, png(beside([("samples", left), ("real digits", right)])))
    print(f"  {time.monotonic() - start:.1f} s for {len(samples)} samples; see {PICTURE}")


def _bench() -> None:
    _begin(5, f"measuring speed and memory, batch {', '.join(map(str, BATCHES))}")
    rows = measure(BUNDLE, installed_backends(), BATCHES, threads=THREADS, rounds=1)
    show(speed_table(rows))
    if not all(row.passed for row in rows):
        raise ParityError("a backend that passed before failed while it was measured")


def _begin(number: int, what: str) -> None:
    print(f"\n[{number}/5] {what}", flush=True)


if __name__ == "__main__":
    sys.exit(guarded(main))
