"""Quality of the trained models: test bits/dim of p(x) and p(x | y), next to the baselines.

    python -m benchmarks.quality --recipe digits --seeds 0 1 2

It trains each seed and appends one row per run to results/digits-quality.jsonl. Nothing is chosen
on the test part: the recipe is tuned, and the weights of a run are chosen, on validation.
"""

import argparse
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from ancestral.cli.present.evaluation import baselines, bits_cell
from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.config import Recipe
from ancestral.train.data import load_digits
from ancestral.train.evaluation import evaluate_model
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.progress import training_bar
from ancestral.train.recipes import RECIPES, recipe
from ancestral.train.training import train
from benchmarks.machine import Machine, commit, this_machine
from benchmarks.rows import RESULTS, append_record, now

FILE = RESULTS / "digits-quality.jsonl"


@dataclass(frozen=True, slots=True)
class ModelRow:
    """The quality of one trained model.

    Attributes:
        recipe: name of the recipe.
        numbers: results by name; a value may be a record, such as an `Estimate`.
        machine: machine of the run.
        commit: commit of the code.
        date: UTC time at which the row was made.
    """

    recipe: str
    numbers: Mapping[str, Any]
    machine: Machine = field(default_factory=this_machine)
    commit: str = field(default_factory=commit)
    date: str = field(default_factory=now)


def run(chosen: Recipe, seed: int, folder: Path) -> ModelRow:
    """Train one seed, read its checkpoint back, and evaluate it on the checkpoint's split.

    The numbers of the row: the summary of the training, as in the checkpoint; PyTorch's threads;
    the estimates of the kept weights on validation, where they were chosen by p(x | y), and on the
    test part; the estimates of the baselines on the test part.
    """
    with training_bar(f"{chosen.name}, seed {seed}", chosen.training.steps) as bar:
        result = train(chosen, load_digits(), folder, seed=seed, progress=bar)
    model, checkpoint = load_checkpoint(result.path)
    assert isinstance(model, AutoregressiveModel)
    data = load_digits(checkpoint.split)
    numbers = {
        "summary": result.summary.model_dump(),
        "threads": torch.get_num_threads(),
        "validation": evaluate_model(model, data.validation, data.label_log_prior()),
        "test": evaluate_model(model, data.test, data.label_log_prior()),
        "baselines": baselines(data),
    }
    return ModelRow(chosen.name, numbers)


def main() -> None:
    """Train and evaluate, and print one line per run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    names = [known.name for known in RECIPES if known.source == "digits"]
    parser.add_argument("--recipe", default="digits", choices=names)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=FILE)
    parser.add_argument(
        "--checkpoints", type=Path, help="folder for the checkpoints; default: they are not kept"
    )
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = recipe(options.recipe)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.checkpoints or Path(temporary)
        for seed in options.seeds:
            row = run(chosen, seed, folder / f"{chosen.name}-{seed}")
            append_record(row, options.output)
            test, taken = row.numbers["test"], row.numbers["summary"]["seconds"]
            print(
                f"{chosen.name} seed {seed}: {taken:.0f} s, test bits/dim "
                f"p(x) {bits_cell(test.marginal)}, p(x|y) {bits_cell(test.conditional)}"
            )


if __name__ == "__main__":
    main()
