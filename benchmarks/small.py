"""Quality and cost of the recipes for two cores: one row per recipe.

    python -m benchmarks.small images-28-small-vae text-small --folder runs

It makes the data (`benchmarks.small_data`), trains, evaluates the test part, and appends a row to
results/small.jsonl. Nothing is chosen on the test part. The cost is the CPU time of all threads,
which does not depend on other load of the machine. `--table` prints all rows in Markdown.
"""

import argparse
import hashlib
import lzma
import time
from pathlib import Path

import torch

from ancestral.cli.present.evaluation import baselines
from ancestral.train.bounds import ENGINE, bound
from ancestral.train.config import Recipe
from ancestral.train.data import Dataset, load_npz, load_text
from ancestral.train.evaluation import Estimate, estimate, evaluate_model
from ancestral.train.models.autoregressive import AutoregressiveModel
from ancestral.train.models.families import Model
from ancestral.train.progress import training_bar
from ancestral.train.recipes import SMALL_RECIPES, recipe
from ancestral.train.training import train
from benchmarks.machine import commit
from benchmarks.quality import ModelRow
from benchmarks.rows import RESULTS, append_record, read
from benchmarks.small_data import write_digits, write_text

FILE = RESULTS / "small.jsonl"
SEED, DRAWS = 0, 100


def run(chosen: Recipe, folder: Path) -> ModelRow:
    """Train and evaluate a recipe on its data.

    The numbers of the row: the source of the data, and the SHA-256 of its file; seed; number of
    steps, and the step whose averaged weights are kept; number of parameters; CPU seconds of
    training and of evaluation, over all threads, and wall-clock seconds, which other load of the
    machine may increase; PyTorch's threads; test bits/dim of p(x) (text: bits/byte) with the
    standard error over events, for a VAE the upper bound from k latents per event; the bits of the
    ELBO and k, both None for other models; the bits of the baselines on the same events, by name.
    """
    code = commit()
    path, data, name = _data(chosen, folder)
    events = data.without_labels() if chosen.name.endswith("-vae") else data
    began, cpu = time.monotonic(), time.process_time()
    with training_bar(chosen.name, chosen.training.steps) as bar:
        result = train(chosen, events, folder / chosen.name, seed=SEED, progress=bar)
    trained = time.process_time()
    elbo, found = measured(result.model, data)
    evaluated, ended = time.process_time(), time.monotonic()
    numbers = {
        "data": name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "seed": SEED,
        "steps": result.summary.steps,
        "best_step": result.summary.best_step,
        "parameters": sum(each.numel() for each in result.model.parameters()),
        "training_cpu_s": round(trained - cpu, 1),
        "evaluation_cpu_s": round(evaluated - trained, 1),
        "wall_s": round(ended - began, 1),
        "threads": torch.get_num_threads(),
        "bits": found.bits_per_dim,
        "bits_error": found.bits_per_dim_error,
        "elbo_bits": None if elbo is None else elbo.bits_per_dim,
        "k": None if elbo is None else DRAWS,
        "baselines": to_beat(data),
    }
    return ModelRow(chosen.name, numbers, commit=code)


def _data(chosen: Recipe, folder: Path) -> tuple[Path, Dataset, str]:
    if chosen.source == "text":
        path = write_text(folder)
        return path, load_text(path), "docstrings of Python's standard library"
    path = write_digits(folder)
    return path, load_npz(path), "scikit-learn's digits enlarged to 28 x 28, 17 levels"


def measured(model: Model, data: Dataset) -> tuple[Estimate | None, Estimate]:
    """Return the ELBO of a VAE (else None), and log p(x) of the test part or its lower bound."""
    if isinstance(model, AutoregressiveModel):
        return None, evaluate_model(model, data.test, data.label_log_prior()).marginal
    found = bound(model, data.test.x, DRAWS, streams=ENGINE)
    return estimate(found.elbo, data.spec), estimate(found.iwae, data.spec)


def to_beat(data: Dataset) -> dict[str, float]:
    """Return the bits that a model must beat on the test part, by baseline."""
    text = data.spec.tokenizer is not None
    found = {name: each.marginal.bits_per_dim for name, each in baselines(data).items()}
    return found | ({"xz, given the training part": compressed(data)} if text else {})


def compressed(data: Dataset) -> float:
    """Return the bits/byte that xz adds for the test part after compressing the other parts."""
    before, rest = (
        b"".join(part.x.astype("u1").tobytes() for part in parts)
        for parts in ((data.train, data.validation), (data.test,))
    )
    sizes = [
        len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
        for content in (before, before + rest)
    ]
    return 8 * (sizes[1] - sizes[0]) / len(rest)


def latest(file: Path = FILE) -> list[ModelRow]:
    """Return the latest row of each recipe, in the order of the recipes."""
    found = {row.recipe: row for row in read(ModelRow, file)}
    return [found[each.name] for each in SMALL_RECIPES if each.name in found]


def table(rows: list[ModelRow]) -> str:
    """Return the rows and their baselines as a Markdown table."""
    lines = [
        "| recipe | bits/dim (text: bits/byte) | baselines | CPU time: training + test | steps |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        found = row.numbers
        sign = "" if found["k"] is None else "<= "
        elbo = found["elbo_bits"]
        tail = "" if elbo is None else f" (k = {found['k']}; ELBO {elbo:.3f})"
        others = ", ".join(f"{name} {bits:.3f}" for name, bits in found["baselines"].items())
        cpu = f"{found['training_cpu_s']:.0f} s + {found['evaluation_cpu_s']:.0f} s"
        lines.append(
            f"| `{row.recipe}` | {sign}{found['bits']:.3f} +- {found['bits_error']:.3f}{tail} | "
            f"{others} | {cpu} | {found['steps']:,}, best {found['best_step']:,} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Append one row per recipe, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [each.name for each in SMALL_RECIPES]
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(names))
    parser.add_argument("--folder", type=Path, help="folder for the data and the checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(latest(options.results)), end="")
        return
    if not options.recipes or options.folder is None or not set(options.recipes) <= set(names):
        parser.error(f"RECIPE, --folder: expected a folder and any of {', '.join(names)}")
    torch.set_num_threads(options.threads)
    for name in options.recipes:
        print(append_record(run(recipe(name), options.folder), options.results), flush=True)


if __name__ == "__main__":
    main()
