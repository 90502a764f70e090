"""How good the trained models are: test bits/dim of p(x) and p(x | y), beside the baselines.

    python -m benchmarks.quality --recipe digits --seeds 0 1 2

trains each seed and appends one row a run to results/digits-quality.jsonl. Nothing is chosen on the
test part: the recipe was tuned, and the weights of a run are picked, on validation.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ancestral.cli.present.evaluation import baselines, bits_cell
from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.config import Recipe
from ancestral.train.data import load_digits
from ancestral.train.evaluation import Estimates, evaluate_model
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.progress import training_bar
from ancestral.train.recipes import RECIPES, recipe
from ancestral.train.training import train
from benchmarks.machine import Machine, this_machine
from benchmarks.rows import RESULTS, append_record

FILE = RESULTS / "digits-quality.jsonl"


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        summary: how training went, as in the checkpoint: recipe, seed, steps, seconds, ...
        threads: of PyTorch.
        validation: of the kept weights; what they were chosen by is its conditional.
        test: of the kept weights.
        baselines: on test, by name.
        machine: where.
    """

    summary: dict[str, Any]
    threads: int
    validation: Estimates
    test: Estimates
    baselines: dict[str, Estimates]
    machine: Machine


def run(chosen: Recipe, seed: int, folder: Path) -> Row:
    """Train one seed, read its checkpoint back, and evaluate on the split that it names."""
    with training_bar(f"{chosen.name}, seed {seed}", chosen.training.steps) as bar:
        result = train(chosen, load_digits(), folder, seed=seed, progress=bar)
    model, checkpoint = load_checkpoint(result.path)
    assert isinstance(model, AutoregressiveModel)
    data = load_digits(checkpoint.split)
    validation, test = (
        evaluate_model(model, part, data.label_log_prior()) for part in (data.validation, data.test)
    )
    return Row(
        result.summary.model_dump(),
        torch.get_num_threads(),
        validation,
        test,
        baselines(data),
        this_machine(),
    )


def main() -> None:
    """Train and evaluate; print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [known.name for known in RECIPES if known.source == "digits"]
    parser.add_argument("--recipe", default="digits", choices=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=FILE)
    parser.add_argument("--checkpoints", type=Path, help="keep them here; none are kept by default")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = recipe(options.recipe)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.checkpoints or Path(temporary)
        for seed in options.seeds:
            row = run(chosen, seed, folder / f"{chosen.name}-{seed}")
            append_record(row, options.output)
            print(
                f"{chosen.name} seed {seed}: {row.summary['seconds']:.0f} s, test bits/dim "
                f"p(x) {bits_cell(row.test.marginal)}, p(x|y) {bits_cell(row.test.conditional)}"
            )


if __name__ == "__main__":
    main()
