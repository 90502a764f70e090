"""How good the models with latents are: bounds on log p(x) of the digits' test part.

    python -m benchmarks.latents vae vq --folder runs

trains each, exports it, and bounds log p(x) of the 360 test images on ONNX Runtime, as a user
would; one row a model goes to results/digits-latents.jsonl. Nothing is chosen on the test part.
bits/dim of a bound are an upper bound on those of the model.
"""

import argparse
import json
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ancestral.engine import LatentEngine
from ancestral.export.bundle import export_bundle
from ancestral.files.atomic import write_atomically
from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.codes import PRIOR, encoded
from ancestral.train.config import Recipe
from ancestral.train.data import Dataset, load_digits
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.vqvae import VQVAE
from ancestral.train.progress import training_bar
from ancestral.train.recipes import recipe
from ancestral.train.training import train
from ancestral.units import bits_per_dim

RESULTS = Path(__file__).parent / "results" / "digits-latents.jsonl"
SEED, K = 0, 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Attributes:
        recipe: its name.
        seed: of the run.
        k: latents of each event.
        bits: test bits/dim of the importance-weighted bound, or of log p(x | z) + log p(z).
        bits_error: standard error over the events.
        elbo_bits: of the ELBO.
        reconstruction_nats: mean of log p(x | z).
        kl_nats: mean of log q(z | x) - log p(z).
        unreliable: events of an effective sample size below 10.
        naive_bits: the bound where z is drawn from the prior; None for codes.
        max_abs_nats: parity of the run.
        limit_nats: what it may be.
        best_step: whose weights are kept, of each stage.
        seconds: of training, of each stage.
        machine: processor and system.
        versions: of torch and of what bounded.
    """

    recipe: str
    seed: int
    k: int
    bits: float
    bits_error: float
    elbo_bits: float
    reconstruction_nats: float
    kl_nats: float
    unreliable: int
    naive_bits: float | None
    max_abs_nats: float
    limit_nats: float
    best_step: list[int]
    seconds: list[float]
    machine: str
    versions: dict[str, str]


def trained(chosen: Recipe, data: Dataset, folder: Path) -> list[Path]:
    """Checkpoints of the stages: what stands in the folder is gone on with."""
    stages, events = [(chosen, folder)], data.without_labels()
    if chosen.prior is not None:
        stages.append((chosen.prior, folder / PRIOR))
    for stage, path in stages:
        with training_bar(stage.name, stage.training.steps) as bar:
            result = train(stage, events, path, seed=SEED, resume=True, progress=bar)
        if isinstance(result.model, VQVAE):
            events = encoded(result.model, data)
    return [path for _, path in stages]


def measure(chosen: Recipe, data: Dataset, folder: Path) -> Row:
    """Train, export, verify and bound."""
    checkpoints = trained(chosen, data, folder / chosen.name)
    loaded = [load_checkpoint(path) for path in checkpoints]
    prior = loaded[1][0] if len(loaded) > 1 else None
    assert prior is None or isinstance(prior, AutoregressiveModel)
    log_prior = data.label_log_prior()
    bundle = folder / f"{chosen.name}-bundle"
    export_bundle(
        loaded[0][0],
        bundle,
        prior=prior,
        label_prior=None if prior is None or log_prior is None else np.exp(log_prior).tolist(),
        overwrite=True,
    )
    engine = LatentEngine.load(bundle, threads=1)
    report = engine.compare()
    assert report.passed, report.failures
    x, shape = data.test.x, data.spec.event_shape
    found = engine.bound(x, k=K, seed=SEED)
    bits = bits_per_dim(found.iwae, shape)
    naive = None
    if prior is None:
        naive = engine.bound(x, k=K, seed=SEED, proposal="prior").iwae
    summaries = [checkpoint.config.summary for _, checkpoint in loaded]
    return Row(
        recipe=chosen.name,
        seed=SEED,
        k=K,
        bits=float(bits.mean()),
        bits_error=float(bits.std(ddof=1) / len(bits) ** 0.5),
        elbo_bits=float(bits_per_dim(found.elbo, shape).mean()),
        reconstruction_nats=float(found.reconstruction.mean()),
        kl_nats=float(found.kl.mean()),
        unreliable=int(found.unreliable.sum()),
        naive_bits=None if naive is None else float(bits_per_dim(naive, shape).mean()),
        max_abs_nats=report.max_abs_nats,
        limit_nats=report.limit_nats,
        best_step=[summary.best_step for summary in summaries if summary is not None],
        seconds=[summary.seconds for summary in summaries if summary is not None],
        machine=f"{platform.processor() or platform.machine()}, {platform.system()}",
        versions={"torch": torch.__version__, "python": platform.python_version()},
    )


def main() -> None:
    """Measure the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=["vae", "vq"])
    parser.add_argument("--recipe", default="digits", help="digits, or tiny for a rehearsal")
    parser.add_argument("--folder", type=Path, required=True, help="of checkpoints and bundles")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_digits()
    for model in options.models:
        row = measure(recipe(options.recipe, model), data, options.folder)
        text = json.dumps(asdict(row))
        old = options.results.read_bytes() if options.results.exists() else b""
        write_atomically(options.results, old + text.encode() + b"\n")
        print(text, flush=True)


if __name__ == "__main__":
    main()
