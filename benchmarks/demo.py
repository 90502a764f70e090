"""The whole workflow on real data: train, export, verify, sample and bench handwritten digits.

    python -m benchmarks.demo

It writes the bundle demo/digits and demo/digits.png, with samples next to real digits; then the
bundle of a variational autoencoder, demo/digits-vae, with demo/latent-grid.png and
demo/reconstructions.png. It downloads nothing: scikit-learn ships the images.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ancestral.cli.bench import measure, speed_table
from ancestral.cli.installed import installed_backends
from ancestral.cli.main import guarded
from ancestral.cli.output import show
from ancestral.cli.present.evaluation import evaluation_table
from ancestral.cli.present.parity_table import parity_tables
from ancestral.cli.verify import parity_reports
from ancestral.engine import AutoregressiveEngine, LatentEngine
from ancestral.errors import ParityError
from ancestral.export.bundle import export_bundle
from ancestral.files.atomic import write_atomically
from ancestral.pictures import greys, grid, png, side_by_side
from ancestral.train.config import Recipe
from ancestral.train.data import Dataset, load_digits
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.progress import training_bar
from ancestral.train.recipes import DEMO, DEMO_VAE
from ancestral.train.state import Evaluation
from ancestral.train.training import train
from ancestral.units import bits_per_dim

FOLDER = Path("demo")
CHECKPOINT, BUNDLE, PICTURE = FOLDER / "checkpoint", FOLDER / "digits", FOLDER / "digits.png"
VAE_CHECKPOINT, VAE_BUNDLE = FOLDER / "vae-checkpoint", FOLDER / "digits-vae"
LATENT_GRID, RECONSTRUCTIONS = FOLDER / "latent-grid.png", FOLDER / "reconstructions.png"
STAGES = 7
SEED = 0
DRAWN, REAL = 10, 4
"""Samples of each class, and real digits shown next to them."""
DRAWS, SIDE, SHOWN = 100, 10, 16
"""Latents per bound, tiles per side of the grid, number of reconstructed digits."""
BATCHES = (1, 16, 64)
THREADS = 1
"""A second thread gains little on so small a network, and costs much if the cores are shared."""


def main() -> None:
    """Run the stages; each prints what it does and its results."""
    start = time.monotonic()
    torch.set_num_threads(THREADS)
    FOLDER.mkdir(exist_ok=True)
    data, backends = load_digits(), installed_backends()
    steps = DEMO.training.steps
    begin(1, f"training recipe '{DEMO.name}', {steps} steps on {len(data.train)} real images")
    model = trained(DEMO, data, CHECKPOINT)
    assert isinstance(model, AutoregressiveModel)
    show(evaluation_table(model, data))
    _export(model, data)
    begin(3, f"verifying on {' and '.join(backends)}")
    verified(BUNDLE, backends)
    _draw(data)
    begin(5, f"measuring speed and memory, batch {', '.join(map(str, BATCHES))}")
    rows = measure(BUNDLE, backends, BATCHES, threads=THREADS, rounds=1)
    show(speed_table(rows))
    if not all(row.passed for row in rows):
        raise ParityError(
            "a backend passed verification, but not when it was timed; report it with the tables"
        )
    run_latent(data)
    print(f"\nDone in {time.monotonic() - start:.0f} s.")
    print(f"checkpoint  {CHECKPOINT}")
    print(f"bundle      {BUNDLE}")
    print(f"picture     {PICTURE}")
    print(f"VAE         {VAE_BUNDLE}, {LATENT_GRID}, {RECONSTRUCTIONS}")


def trained(recipe: Recipe, data: Dataset, out: Path) -> Model:
    """Train with a progress bar, or with a line per evaluation if there is no terminal."""
    with training_bar(recipe.name, recipe.training.steps) as bar:

        def progress(step: int, look: Evaluation | None) -> None:
            bar(step, look)
            if look is not None and not sys.stderr.isatty():
                print(f"  step {step}: validation {look.validation_bits:.3f} bits/dim", flush=True)

        result = train(recipe, data, out, seed=SEED, progress=progress)
    print(f"  {result.summary.seconds:.0f} s; kept the weights of step {result.summary.best_step}")
    return result.model


def _export(model: AutoregressiveModel, data: Dataset) -> None:
    begin(2, "exporting to ONNX, with known answers from float64 PyTorch")
    start = time.monotonic()
    prior = data.label_log_prior()
    export_bundle(
        model, BUNDLE, label_prior=None if prior is None else np.exp(prior).tolist(), overwrite=True
    )
    size = sum(file.stat().st_size for file in BUNDLE.rglob("*") if file.is_file())
    print(f"  {time.monotonic() - start:.0f} s; {size / 1e6:.1f} MB")


def verified(bundle: Path, backends: Sequence[str]) -> None:
    """Show the parity of each backend.

    Raises:
        ParityError: a backend does not keep the probabilities.
    """
    reports = parity_reports(bundle, backends, threads=THREADS)
    show(*parity_tables(reports)[:1])
    failures = [f"{report.backend}: {failure}" for report in reports for failure in report.failures]
    if failures:
        raise ParityError("; ".join(failures))


def _draw(data: Dataset) -> None:
    """Draw a row for each digit: samples on the left, real test digits on the right."""
    begin(4, f"drawing {DRAWN} samples of each digit on onnxruntime, seed {SEED}")
    start = time.monotonic()
    classes, shape = data.spec.num_classes or 1, data.spec.event_shape
    samples = AutoregressiveEngine.load(BUNDLE, threads=THREADS).sample(
        DRAWN * classes, labels=np.repeat(np.arange(classes), DRAWN), seed=SEED
    )
    assert data.test.label is not None
    chosen = [np.flatnonzero(data.test.label == y)[:REAL] for y in range(classes)]
    real = data.test.x[np.concatenate(chosen)].reshape(-1, *shape)
    left = grid(samples.x, data.spec.levels, columns=DRAWN)
    right = grid(real, data.spec.levels, columns=REAL)
    write_atomically(PICTURE, png(side_by_side([("samples", left), ("real digits", right)])))
    print(f"  {time.monotonic() - start:.1f} s for {len(samples)} samples; see {PICTURE}")


def run_latent(data: Dataset) -> None:
    """Do the same with a variational autoencoder, and draw its latents."""
    recipe, events = DEMO_VAE, data.without_labels()
    begin(6, f"training a VAE, recipe '{recipe.name}', {recipe.training.steps} steps")
    model = trained(recipe, events, VAE_CHECKPOINT)
    export_bundle(model, VAE_BUNDLE, overwrite=True)
    verified(VAE_BUNDLE, installed_backends())
    begin(7, "computing bounds, a latent grid and reconstructions on onnxruntime")
    engine = LatentEngine.load(VAE_BUNDLE, threads=THREADS)
    found = engine.bound(events.test.x, k=DRAWS, seed=SEED)
    for name, nats in (("ELBO", found.elbo), (f"IWAE of {DRAWS} latents", found.iwae)):
        bits = bits_per_dim(nats, events.spec.event_shape)
        print(f"  {name}: log p(x) >= {nats.mean():.2f} nats, at most {bits.mean():.3f} bits/dim")
    levels, shape = events.spec.levels, events.spec.event_shape
    tiles = engine.latent_grid(SIDE)
    picture = grid(greys(tiles.reshape(-1, *shape), levels), levels, columns=SIDE)
    write_atomically(LATENT_GRID, png(picture))
    x = events.test.x[:SHOWN].reshape(-1, *shape)
    pairs = np.concatenate([x, greys(engine.reconstruct(x), levels)])
    write_atomically(RECONSTRUCTIONS, png(grid(pairs, levels, columns=SHOWN)))
    print(f"  see {LATENT_GRID} and {RECONSTRUCTIONS} (test digits above, E[x | z] below)")


def begin(number: int, what: str) -> None:
    """Print which stage begins."""
    print(f"\n[{number}/{STAGES}] {what}", flush=True)


if __name__ == "__main__":
    sys.exit(guarded(main))
