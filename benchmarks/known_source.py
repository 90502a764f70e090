"""Models of a source with known entropy: the extra bits are a KL divergence, in one direction.

    python -m benchmarks.known_source

It fits tables and trains a GRU on events of an order-2 chain over 5 symbols. For each model it
prints, in bits per event: the cross-entropy; its excess over the source's entropy, which is exactly
KL(source || model); KL(model || source); and the cross-entropy of the model's own samples under the
source, next to that of the source's own samples (exposure bias). All sums are over all events:
nothing is estimated.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import torch

from ancestral.cli.output import show, table
from ancestral.train.config import Recipe, TrainingConfig
from ancestral.train.evaluation import LogProb, fit_table, model_log_prob
from ancestral.train.known_source import Divergences, divergences, known_source, source_data
from ancestral.train.models.recurrent import RecurrentConfig
from ancestral.train.models.table import TableConfig
from ancestral.train.training import train

_SHOWN = {
    "cross_entropy": "cross-entropy",
    "excess": "KL(source||model)",
    "reverse": "KL(model||source)",
    "foreign": "own samples",
}
_CONFIG = RecurrentConfig(width=48, layers=1)


def measured(events: int, steps: int) -> dict[str, Divergences]:
    """Return the divergences of each model, by name."""
    data = source_data(events)
    models: dict[str, LogProb] = {"the source itself": model_log_prob(known_source(), 4096)}
    for order in (0, 1, 2, 3):
        config = TableConfig(neighbours=tuple((-i,) for i in range(1, order + 1)))
        models[f"table of order {order}"] = model_log_prob(fit_table(config, data), 4096)
    with tempfile.TemporaryDirectory() as folder:
        for name, budget in (("GRU", steps), ("GRU, a quarter of the steps", steps // 4)):
            training = TrainingConfig(steps=budget, batch_size=128, evaluate_every=budget)
            recipe = Recipe(name="source", source="npz", model=_CONFIG, training=training)
            models[name] = model_log_prob(train(recipe, data, Path(folder) / name).model, 4096)
    return {name: divergences(model) for name, model in models.items()}


def main() -> None:
    """Print the table, then one JSON line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=int, default=5000)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    found = measured(options.events, options.steps)
    cells = [
        (name, *(f"{getattr(each, field):.4f}" for field in _SHOWN)) for name, each in found.items()
    ]
    title = f"bits per event, {options.events} training events, exact sums over all events"
    show(table(title, ("", *_SHOWN.values()), cells))
    print(json.dumps({name: asdict(each) for name, each in found.items()}))


if __name__ == "__main__":
    main()
