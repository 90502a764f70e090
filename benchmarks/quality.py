"""How good the trained models are: test bits/dim of p(x) and p(x | y), beside the baselines.

    python -m benchmarks.quality --recipe digits --seeds 0 1 2

trains each seed and appends one row a run to results/digits-quality.jsonl. Nothing is chosen on the
test part: the recipe was tuned, and the weights of a run are picked, on validation.
"""

import argparse
import json
import platform
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.config import Recipe
from ancestral.train.data import Dataset, load_digits
from ancestral.train.evaluation import LogProb, evaluate, model_log_prob
from ancestral.train.progress import training_bar
from ancestral.train.recipes import RECIPES, recipe
from ancestral.train.tables import independent_values, neighbour_table
from ancestral.train.training import train

RESULTS = Path(__file__).parent / "results" / "digits-quality.jsonl"


@dataclass(frozen=True, slots=True)
class Quality:
    """Bits/dim on a part, with standard errors over its events.

    Attributes:
        marginal: of p(x) = sum_y p(x | y) p(y).
        marginal_error: its standard error.
        conditional: of p(x | y).
        conditional_error: its standard error.
    """

    marginal: float
    marginal_error: float
    conditional: float
    conditional_error: float


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        recipe: its name.
        seed: of the run.
        steps: taken.
        best_step: whose averaged weights are kept.
        seconds: of training.
        threads: of PyTorch.
        validation: of the kept weights; what they were chosen by is its conditional.
        test: of the kept weights.
        baselines: on test, by name.
        machine: processor and system.
        torch: version.
    """

    recipe: str
    seed: int
    steps: int
    best_step: int
    seconds: float
    threads: int
    validation: Quality
    test: Quality
    baselines: dict[str, Quality]
    machine: str
    torch: str


def measure(log_prob: LogProb, data: Dataset, part: str) -> Quality:
    """Evaluate on the validation or the test part of labelled data."""
    result = evaluate(log_prob, getattr(data, part), data.spec, data.label_log_prior())
    assert result.conditional is not None
    return Quality(
        result.marginal.bits_per_dim,
        result.marginal.bits_per_dim_error,
        result.conditional.bits_per_dim,
        result.conditional.bits_per_dim_error,
    )


def run(chosen: Recipe, seed: int, folder: Path) -> Row:
    """Train one seed, read its checkpoint back, and evaluate on the split that it names."""
    with training_bar(f"{chosen.name}, seed {seed}", chosen.training.steps) as bar:
        result = train(chosen, load_digits(), folder, seed=seed, progress=bar)
    model, checkpoint = load_checkpoint(result.path)
    data = load_digits(checkpoint.split)
    log_prob = model_log_prob(model)
    return Row(
        recipe=chosen.name,
        seed=seed,
        steps=result.summary.steps,
        best_step=result.summary.best_step,
        seconds=round(result.summary.seconds, 1),
        threads=torch.get_num_threads(),
        validation=measure(log_prob, data, "validation"),
        test=measure(log_prob, data, "test"),
        baselines={
            "independent pixels": measure(independent_values(data), data, "test"),
            "neighbour table": measure(neighbour_table(data), data, "test"),
        },
        machine=f"{platform.machine()} {platform.system()}, {_processor()}",
        torch=torch.__version__,
    )


def main() -> None:
    """Train and evaluate; print a line a run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", default="digits", choices=_names())
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=RESULTS)
    parser.add_argument("--checkpoints", type=Path, help="keep them here; none are kept by default")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    chosen = recipe(options.recipe)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.checkpoints or Path(temporary)
        for seed in options.seeds:
            row = run(chosen, seed, folder / f"{chosen.name}-{seed}")
            with options.output.open("a") as file:
                file.write(json.dumps(asdict(row)) + "\n")
            print(
                f"{row.recipe} seed {row.seed}: {row.seconds:.0f} s, test bits/dim "
                f"p(x) {row.test.marginal:.4f} +- {row.test.marginal_error:.4f}, "
                f"p(x|y) {row.test.conditional:.4f} +- {row.test.conditional_error:.4f}"
            )


def _names() -> list[str]:
    return [known.name for known in RECIPES if known.source == "digits"]


def _processor() -> str:
    for line in _lines(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


if __name__ == "__main__":
    main()
