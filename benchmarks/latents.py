"""How good the models with latents are: bounds on log p(x) of the digits' test part.

    python -m benchmarks.latents vae vq --folder runs

trains each, exports it, and bounds log p(x) of the 360 test images on ONNX Runtime, as a user
would; one row a model goes to results/digits-latents.jsonl. Nothing is chosen on the test part.
bits/dim of a bound are an upper bound on those of the model.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ancestral.cli.stages import Run, train_stages
from ancestral.engine import LatentEngine
from ancestral.export.bundle import export_bundle
from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.codes import PRIOR
from ancestral.train.config import Recipe
from ancestral.train.data import Dataset, load_digits
from ancestral.train.evaluation import Estimate, estimate
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.recipes import recipe
from benchmarks.machine import Machine, this_machine
from benchmarks.parity import Parity
from benchmarks.rows import RESULTS, append_record

FILE = RESULTS / "digits-latents.jsonl"
SEED, K = 0, 1000


@dataclass(frozen=True, slots=True)
class Row:
    """One model.

    Attributes:
        recipe: its name.
        seed: of the run.
        k: latents of each event.
        iwae: the importance-weighted bound on the test part, or log p(x | z) + log p(z).
        elbo: the ELBO on it.
        reconstruction_nats: mean of log p(x | z).
        kl_nats: mean of log q(z | x) - log p(z).
        unreliable: events of an effective sample size below 10.
        naive: the bound where z is drawn from the prior; None for codes.
        parity: of the run.
        stages: how the training of each went, as in the checkpoints.
        machine: where.
    """

    recipe: str
    seed: int
    k: int
    iwae: Estimate
    elbo: Estimate
    reconstruction_nats: float
    kl_nats: float
    unreliable: int
    naive: Estimate | None
    parity: Parity
    stages: list[dict[str, Any]]
    machine: Machine


def measure(chosen: Recipe, data: Dataset, folder: Path) -> Row:
    """Train, or go on with what is in the folder; export, verify and bound."""
    path = folder / chosen.name
    train_stages(chosen, data, path, Run(SEED, resume=True, device="cpu", evaluate=False))
    paths = [path] if chosen.prior is None else [path, path / PRIOR]
    loaded = [load_checkpoint(each) for each in paths]
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
    x = data.test.x
    found = engine.bound(x, k=K, seed=SEED)
    naive = engine.bound(x, k=K, seed=SEED, proposal="prior").iwae if prior is None else None
    summaries = [checkpoint.config.summary for _, checkpoint in loaded]
    return Row(
        recipe=chosen.name,
        seed=SEED,
        k=K,
        iwae=estimate(found.iwae, data.spec),
        elbo=estimate(found.elbo, data.spec),
        reconstruction_nats=float(found.reconstruction.mean()),
        kl_nats=float(found.kl.mean()),
        unreliable=int(found.unreliable.sum()),
        naive=None if naive is None else estimate(naive, data.spec),
        parity=Parity.of(report),
        stages=[each.model_dump() for each in summaries if each is not None],
        machine=this_machine(),
    )


def main() -> None:
    """Measure the models that are named."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=["vae", "vq"])
    parser.add_argument("--recipe", default="digits", help="digits, or tiny for a rehearsal")
    parser.add_argument("--folder", type=Path, required=True, help="of checkpoints and bundles")
    parser.add_argument("--results", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_digits()
    for model in options.models:
        row = measure(recipe(options.recipe, model), data, options.folder)
        print(append_record(row, options.results), flush=True)


if __name__ == "__main__":
    main()
