"""Every family on the digits: p(x) on the test part, and the errors of the differences.

    python -m benchmarks.quality --recipe digits-gru --seeds 0 --checkpoints runs     each family
    python -m benchmarks.families runs/digits-0 runs/digits-gru-0 ...                 the table
    python -m benchmarks.families runs/digits-gru-0 --pictures docs                   its samples

All models are evaluated on the same 360 images, so the standard error of a difference is that of
the mean of paired differences, which is far smaller than the errors of the two means.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ancestral.engine import Engine
from ancestral.errors import ParityError
from ancestral.export.bundle import export_bundle
from ancestral.files.atomic import write_atomically
from ancestral.pictures import grid, png
from ancestral.train.checkpoint_config import read_config
from ancestral.train.data import Dataset, load_digits
from ancestral.train.evaluation import LogProb, independent_values, model_log_prob, neighbour_table
from ancestral.train.open_checkpoint import OpenedCheckpoint, open_checkpoint
from benchmarks.cases import GRAPHS
from benchmarks.rows import RESULTS, append_record

FILE = RESULTS / "digits-families.jsonl"


@dataclass(frozen=True, slots=True)
class Family:
    """One model on the test part.

    Attributes:
        name: name of the recipe.
        parameters: number of parameters; None for a baseline.
        bits: bits/dim of p(x) = sum_y p(x | y) p(y).
        bits_error: standard error of `bits` over events.
        difference: `bits` minus that of the first model on the command line.
        difference_error: standard error of the mean of the paired differences.
        accuracy: fraction of events whose label is the most probable one by Bayes' rule.
        accuracy_error: standard error of `accuracy`.
    """

    name: str
    parameters: int | None
    bits: float
    bits_error: float
    difference: float
    difference_error: float
    accuracy: float
    accuracy_error: float


def joint(log_prob: LogProb, data: Dataset) -> NDArray[np.float64]:
    """Return log p(x, y) of each test event and class, [n, k], in nats."""
    prior = data.label_log_prior()
    assert prior is not None
    x = data.test.x
    columns = [log_prob(x, np.full(len(x), y, np.int64)) for y in range(len(prior))]
    return np.stack(columns, axis=1) + prior


def compare(models: dict[str, tuple[LogProb, int | None]], data: Dataset) -> list[Family]:
    """Evaluate each model, and compare it with the first."""
    label = data.test.label
    assert label is not None
    scale = 1 / (data.spec.length * np.log(2))
    joints = {name: joint(log_prob, data) for name, (log_prob, _) in models.items()}
    bits = {name: -np.logaddexp.reduce(both, axis=1) * scale for name, both in joints.items()}
    first = next(iter(bits.values()))
    return [
        Family(
            name,
            parameters,
            *_mean(bits[name]),
            *_mean(bits[name] - first),
            *_mean((joints[name].argmax(axis=1) == label).astype(float)),
        )
        for name, (_, parameters) in models.items()
    ]


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def table(rows: list[Family]) -> str:
    """Return the table in Markdown, the best model first."""
    lines = [
        "| model | parameters | bits/dim of p(x) | minus the first | accuracy by Bayes' rule |",
        "|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row.bits):
        parameters = "" if row.parameters is None else f"{row.parameters:,}"
        difference = f"{row.difference:+.4f} +- {row.difference_error:.4f}"
        lines.append(
            f"| {row.name} | {parameters} | {row.bits:.4f} +- {row.bits_error:.4f} | "
            f"{'' if row.difference_error == 0 else difference} | "
            f"{row.accuracy:.1%} +- {row.accuracy_error:.1%} |"
        )
    return "\n".join(lines)


def picture(opened: OpenedCheckpoint, file: Path) -> None:
    """Export a model, verify it, and draw ten samples of each digit on ONNX Runtime.

    Raises:
        ParityError: the exported graphs do not keep the probabilities.
    """
    with tempfile.TemporaryDirectory() as folder:
        bundle, prior = Path(folder) / "bundle", opened.label_prior
        export_bundle(opened.model, bundle, graphs=GRAPHS, label_prior=prior)
        engine = Engine.load(bundle, backend="onnxruntime", threads=1)
        report = engine.verify()
        if not report.passed:
            raise ParityError(f"{file.stem}: {'; '.join(report.failures)}")
        samples = engine.sample(100, labels=np.repeat(np.arange(10), 10))
    write_atomically(file, png(grid(samples.x, opened.model.data.levels, columns=10)))
    print(f"{file.stem}: max {report.max_abs_nats:.3g} nats of {report.limit_nats:.3g} -> {file}")


def main() -> None:
    """Print the table and append its rows, or draw pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--pictures", type=Path, help="folder for samples, instead of the table")
    parser.add_argument("--output", type=Path, default=FILE)
    options = parser.parse_args()
    torch.set_num_threads(1)
    models: dict[str, tuple[LogProb, int | None]] = {}
    for checkpoint in options.checkpoints:
        opened, summary = open_checkpoint(checkpoint), read_config(checkpoint).summary
        name = checkpoint.name if summary is None else summary.recipe
        if options.pictures:
            picture(opened, options.pictures / f"{name}.png")
        else:
            parameters = sum(each.numel() for each in opened.model.parameters())
            models[name] = model_log_prob(opened.model), parameters
    if options.pictures:
        return
    data = load_digits()
    models["neighbour table"] = neighbour_table(data), None
    models["independent pixels"] = independent_values(data), None
    rows = compare(models, data)
    print(table(rows))
    for row in rows:
        append_record(row, options.output)


if __name__ == "__main__":
    main()
