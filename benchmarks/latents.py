"""Quality of the models with latents: bounds on log p(x) of the digits' test part.

    python -m benchmarks.latents vae vq --folder runs

It trains and exports each model, bounds log p(x) of the 360 test images on ONNX Runtime as a user
would, and appends one row per model to results/digits-latents.jsonl. Nothing is chosen on the test
part. The bits/dim of a bound are an upper bound on those of the model.
"""

import argparse
from pathlib import Path

import torch

from ancestral.cli.stages import Run, train_stages
from ancestral.engine import LatentEngine
from ancestral.export.bundle import export_bundle
from ancestral.train.checkpoint import PRIOR
from ancestral.train.checkpoint_config import read_config
from ancestral.train.config import Recipe
from ancestral.train.data import Dataset, load_digits
from ancestral.train.evaluation import estimate
from ancestral.train.open_checkpoint import open_checkpoint
from ancestral.train.recipes import recipe
from benchmarks.parity import Parity
from benchmarks.quality import ModelRow
from benchmarks.rows import RESULTS, append_record

FILE = RESULTS / "digits-latents.jsonl"
SEED, K = 0, 1000


def measure(chosen: Recipe, data: Dataset, folder: Path) -> ModelRow:
    """Train, or resume from the folder; then export, verify and bound.

    The numbers of the row: seed; k, the latents per event; estimates on the test part of the
    importance-weighted bound, or of log p(x | z) + log p(z), and of the ELBO; the means of
    log p(x | z) and of log q(z | x) - log p(z); the number of events with an effective sample size
    below 10; the bound with z drawn from the prior, None for codes; parity; the summary of each
    training, as in the checkpoints.
    """
    path = folder / chosen.name
    train_stages(chosen, data, path, Run(SEED, resume=True, device="cpu", evaluate=False))
    opened, bundle = open_checkpoint(path), folder / f"{chosen.name}-bundle"
    export_bundle(
        opened.model,
        bundle,
        prior=opened.prior,
        label_prior=opened.label_prior,
        overwrite=True,
    )
    engine = LatentEngine.load(bundle, threads=1)
    report = engine.compare()
    assert report.passed, report.failures
    x, spec, codes = data.test.x, data.spec, opened.prior is not None
    found = engine.bound(x, k=K, seed=SEED)
    naive = None if codes else engine.bound(x, k=K, seed=SEED, proposal="prior").iwae
    summaries = [read_config(each).summary for each in ([path, path / PRIOR] if codes else [path])]
    numbers = {
        "seed": SEED,
        "k": K,
        "iwae": estimate(found.iwae, spec),
        "elbo": estimate(found.elbo, spec),
        "reconstruction_nats": float(found.reconstruction.mean()),
        "kl_nats": float(found.kl.mean()),
        "unreliable": int(found.unreliable.sum()),
        "naive": None if naive is None else estimate(naive, spec),
        "parity": Parity.of(report),
        "stages": [each.model_dump() for each in summaries if each is not None],
    }
    return ModelRow(chosen.name, numbers)


def main() -> None:
    """Measure the models on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=["vae", "vq"])
    parser.add_argument("--recipe", default="digits", help="digits, or tiny for a rehearsal")
    parser.add_argument("--folder", type=Path, required=True, help="for checkpoints and bundles")
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_digits()
    for model in options.models:
        row = measure(recipe(options.recipe, model), data, options.folder)
        print(append_record(row, options.results), flush=True)


if __name__ == "__main__":
    main()
