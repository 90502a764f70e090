"""How good the recipes for two cores are, and what they cost: one row a recipe.

    python -m benchmarks.small images-28-small-vae text-small --folder runs

makes the data (`benchmarks.small_data`), trains, evaluates the test part, and appends a row to
results/small.jsonl. Nothing is chosen on the test part. The cost is CPU time, that of all threads:
it does not depend on what else the machine does. `--table` prints all rows in Markdown.
"""

import argparse
import hashlib
import lzma
import time
from dataclasses import dataclass
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
from benchmarks.machine import Machine, commit, this_machine
from benchmarks.rows import RESULTS, append_record, now, read
from benchmarks.small_data import write_digits, write_text

FILE = RESULTS / "small.jsonl"
SEED, DRAWS = 0, 100


@dataclass(frozen=True, slots=True)
class Row:
    """One run.

    Attributes:
        recipe: its name.
        data: name of the data and of what they are made from.
        sha256: of the file.
        seed: of the run.
        steps: taken.
        best_step: whose averaged weights are kept.
        parameters: number of them.
        training_cpu_s: CPU time of the training, all threads, in seconds.
        evaluation_cpu_s: CPU time of the evaluation of the test part.
        wall_s: from the first step to the last number, in seconds; the machine may have been busy.
        threads: of PyTorch.
        bits: test bits/dim of p(x), for text bits/byte; of a VAE's bound: p(x) has at most these.
        bits_error: standard error over the events.
        elbo_bits: of a VAE's ELBO; None for the others.
        k: latents of each event in a VAE's bound; None for the others.
        baselines: bits of other distributions on the same events, by name.
        machine: where.
        commit: of the code.
        date: when the row was written.
    """

    recipe: str
    data: str
    sha256: str
    seed: int
    steps: int
    best_step: int
    parameters: int
    training_cpu_s: float
    evaluation_cpu_s: float
    wall_s: float
    threads: int
    bits: float
    bits_error: float
    elbo_bits: float | None
    k: int | None
    baselines: dict[str, float]
    machine: Machine
    commit: str
    date: str


def run(chosen: Recipe, folder: Path) -> Row:
    """Train and evaluate a recipe on its data."""
    code = commit()
    path, data, name = _data(chosen, folder)
    events = data.without_labels() if chosen.name.endswith("-vae") else data
    began, cpu = time.monotonic(), time.process_time()
    with training_bar(chosen.name, chosen.training.steps) as bar:
        result = train(chosen, events, folder / chosen.name, seed=SEED, progress=bar)
    trained = time.process_time()
    elbo, found = measured(result.model, data)
    evaluated, ended = time.process_time(), time.monotonic()
    return Row(
        recipe=chosen.name,
        data=name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        seed=SEED,
        steps=result.summary.steps,
        best_step=result.summary.best_step,
        parameters=sum(each.numel() for each in result.model.parameters()),
        training_cpu_s=round(trained - cpu, 1),
        evaluation_cpu_s=round(evaluated - trained, 1),
        wall_s=round(ended - began, 1),
        threads=torch.get_num_threads(),
        bits=found.bits_per_dim,
        bits_error=found.bits_per_dim_error,
        elbo_bits=None if elbo is None else elbo.bits_per_dim,
        k=None if elbo is None else DRAWS,
        baselines=to_beat(data),
        machine=this_machine(),
        commit=code,
        date=now(),
    )


def _data(chosen: Recipe, folder: Path) -> tuple[Path, Dataset, str]:
    if chosen.source == "text":
        path = write_text(folder)
        return path, load_text(path), "docstrings of Python's standard library"
    path = write_digits(folder)
    return path, load_npz(path), "scikit-learn's digits enlarged to 28 x 28, 17 levels"


def measured(model: Model, data: Dataset) -> tuple[Estimate | None, Estimate]:
    """A VAE's ELBO, None for other models; and log p(x) of the test part, or the bound on it."""
    if isinstance(model, AutoregressiveModel):
        return None, evaluate_model(model, data.test, data.label_log_prior()).marginal
    found = bound(model, data.test.x, DRAWS, streams=ENGINE)
    return estimate(found.elbo, data.spec), estimate(found.iwae, data.spec)


def to_beat(data: Dataset) -> dict[str, float]:
    """Bits of what a model must beat, on the test part."""
    text = data.spec.tokenizer is not None
    found = {name: each.marginal.bits_per_dim for name, each in baselines(data).items()}
    return found | ({"xz, given the training part": compressed(data)} if text else {})


def compressed(data: Dataset) -> float:
    """Bits/byte that xz needs for the test part more than for what comes before it."""
    before, rest = (
        b"".join(part.x.astype("u1").tobytes() for part in parts)
        for parts in ((data.train, data.validation), (data.test,))
    )
    sizes = [
        len(lzma.compress(content, preset=9 | lzma.PRESET_EXTREME))
        for content in (before, before + rest)
    ]
    return 8 * (sizes[1] - sizes[0]) / len(rest)


def latest(file: Path = FILE) -> list[Row]:
    """The latest row of each recipe, in the order of the recipes."""
    found = {row.recipe: row for row in read(Row, file)}
    return [found[each.name] for each in SMALL_RECIPES if each.name in found]


def table(rows: list[Row]) -> str:
    """The rows in Markdown, with what they are compared with."""
    lines = [
        "| recipe | bits/dim (text: bits/byte) | baselines | CPU time: training + test | steps |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        sign = "" if row.k is None else "<= "
        tail = "" if row.elbo_bits is None else f" (k = {row.k}; ELBO {row.elbo_bits:.3f})"
        others = ", ".join(f"{name} {bits:.3f}" for name, bits in row.baselines.items())
        cpu = f"{row.training_cpu_s:.0f} s + {row.evaluation_cpu_s:.0f} s"
        lines.append(
            f"| `{row.recipe}` | {sign}{row.bits:.3f} +- {row.bits_error:.3f}{tail} | {others} | "
            f"{cpu} | {row.steps:,}, best {row.best_step:,} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Append a row a recipe, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    names = [each.name for each in SMALL_RECIPES]
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help=", ".join(names))
    parser.add_argument("--folder", type=Path, help="of the data and the checkpoints")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(latest(options.results)), end="")
        return
    if not options.recipes or options.folder is None or not set(options.recipes) <= set(names):
        parser.error(f"expected --folder and recipes of {', '.join(names)}")
    torch.set_num_threads(options.threads)
    for name in options.recipes:
        print(append_record(run(recipe(name), options.folder), options.results), flush=True)


if __name__ == "__main__":
    main()
