"""Every family on the digits: p(x) on the test part, and how sure the differences are.

    python -m benchmarks.quality --recipe digits-gru --seeds 0 --checkpoints runs     each family
    python -m benchmarks.families runs/digits-0 runs/digits-gru-0 ...                 the table
    python -m benchmarks.families runs/digits-gru-0 --pictures docs                   its samples

All models are asked about the same 360 images, so that a difference has a standard error of its
own, that of the mean of paired differences: far smaller than the errors of the two means.
"""

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.data import Dataset, load_digits
from ancestral.train.evaluation import LogProb, model_log_prob
from ancestral.train.tables import independent_values, neighbour_table

RESULTS = Path(__file__).parent / "results" / "digits-families.jsonl"


@dataclass(frozen=True, slots=True)
class Family:
    """One model on the test part.

    Attributes:
        name: of its recipe.
        parameters: number of them; None for a baseline.
        bits: bits/dim of p(x) = sum_y p(x | y) p(y).
        bits_error: standard error of that mean over events.
        difference: its bits less those of the first model that was named.
        difference_error: standard error of the mean of the paired differences.
        accuracy: share of events whose label is the most probable one by Bayes' rule; None without.
        accuracy_error: its standard error.
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
    """log p(x, y) of each test event and class, [n, k], in nats."""
    prior = data.label_log_prior()
    assert prior is not None
    x = data.test.x
    columns = [log_prob(x, np.full(len(x), y, np.int64)) for y in range(len(prior))]
    return np.stack(columns, axis=1) + prior


def compare(models: dict[str, tuple[LogProb, int | None]], data: Dataset) -> list[Family]:
    """Each model beside the first."""
    label = data.test.label
    assert label is not None
    scale = 1 / (data.spec.length * np.log(2))
    first: NDArray[np.float64] | None = None
    rows = []
    for name, (log_prob, parameters) in models.items():
        both = joint(log_prob, data)
        bits = -np.logaddexp.reduce(both, axis=1) * scale
        first = bits if first is None else first
        right = (both.argmax(axis=1) == label).astype(float)
        rows.append(
            Family(
                name,
                parameters,
                *_mean(bits),
                *_mean(bits - first),
                *_mean(right),
            )
        )
    return rows


def _mean(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))


def table(rows: list[Family]) -> str:
    """In Markdown, the best first."""
    lines = [
        "| model | parameters | bits/dim of p(x) | less the first | accuracy by Bayes' rule |",
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


def picture(checkpoint: Path, name: str, folder: Path) -> Path:
    """Export a checkpoint, verify it, and draw ten samples of each digit on ONNX Runtime.

    Raises:
        ParityError: the exported graphs do not keep the probabilities.
    """
    from ancestral.engine import Engine
    from ancestral.errors import ParityError
    from ancestral.export.bundle import export_bundle
    from ancestral.files.atomic import write_atomically
    from ancestral.pictures import grid, png

    model, saved = load_checkpoint(checkpoint)
    prior = saved.config.log_prior
    with tempfile.TemporaryDirectory() as temporary:
        graphs = ("log_prob", "logits", "redraw", "step")
        bundle = export_bundle(
            model,
            Path(temporary) / "bundle",
            graphs=graphs,
            label_prior=None if prior is None else np.exp(prior).tolist(),
        )
        engine = Engine.load(bundle, backend="onnxruntime", threads=1)
        report = engine.verify()
        if not report.passed:
            raise ParityError(f"{name}: {'; '.join(report.failures)}")
        samples = engine.sample(100, labels=np.repeat(np.arange(10), 10))
    file = folder / f"{name}.png"
    write_atomically(file, png(grid(samples.x, model.data.levels, columns=10)))
    print(f"{name}: max {report.max_abs_nats:.3g} nats of {report.limit_nats:.3g} -> {file}")
    return file


def main() -> None:
    """Print the table and append its rows; or draw pictures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("--pictures", type=Path, help="a folder: draw samples instead")
    parser.add_argument("--output", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = load_digits()
    models: dict[str, tuple[LogProb, int | None]] = {}
    for checkpoint in options.checkpoints:
        model, saved = load_checkpoint(checkpoint)
        summary = saved.config.summary
        name = checkpoint.name if summary is None else summary.recipe
        if options.pictures:
            picture(checkpoint, name, options.pictures)
            continue
        count = sum(parameter.numel() for parameter in model.parameters())
        models[name] = model_log_prob(model), count
    if options.pictures:
        return
    models["neighbour table"] = neighbour_table(data), None
    models["independent pixels"] = independent_values(data), None
    rows = compare(models, data)
    print(table(rows))
    with options.output.open("a") as file:
        for row in rows:
            file.write(json.dumps(asdict(row)) + "\n")


if __name__ == "__main__":
    main()
