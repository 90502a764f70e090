"""The models whose steps are timed, with random weights, and their bundles.

    python -m benchmarks.gpu.models image gpt2 --folder DIR

The bundles are exported while the checks run. They are for `Engine.verify`, whose known answers
come from float64 on the CPU. The timed loops do not need them: they are built from the same model,
with the same weights.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ancestral.train.models.transformer import Transformer
from benchmarks import cases
from benchmarks.cases import CASES, Case
from benchmarks.gpu.part import Work

WIDE = 3.0
"""Factor on the last norm: makes distributions far from uniform, so that errors show."""


@dataclass(frozen=True, slots=True)
class Stepped:
    """A model whose steps are timed.

    Attributes:
        case: configuration and events of the model.
        windows: number of timed stretches of steps, evenly spread over an event.
        exported: number of positions of the bundle's events; None for all.
    """

    case: Case
    windows: int
    exported: int | None = None

    @property
    def name(self) -> str:
        """The name of the model's bundle."""
        return self.case.name


IMAGE = Stepped(replace(CASES["W2"], name="image", plain=False), 4)
"""4 layers, width 128, 784 positions of 256 values."""
GPT2 = Stepped(
    replace(CASES["W1"], name="gpt2", event_shape=(1024,), prefix=0, plain=False),
    windows=2,
    exported=64,
)
"""GPT-2 small's shape: 12 layers, width 768, 1,024 positions of 50,257 values.

Its bundle has the same weights over fewer positions, since a CPU takes too long to compute known
answers for all of them.
"""
TINY = Stepped(replace(CASES["tiny"], name="tiny", event_shape=(4,), prefix=0), 1)
STEPPED: Mapping[str, Stepped] = {each.name: each for each in (IMAGE, GPT2, TINY)}


def made(stepped: Stepped) -> Transformer:
    """Return the model on the CPU, always with the same weights."""
    model = cases.model(stepped.case)
    assert isinstance(model, Transformer)
    with torch.no_grad():
        model.norm.weight.mul_(WIDE)
    return model


def step_work(model: Transformer, rows: int, position: float, dtype: torch.dtype) -> Work:
    """Return the least work of a step: read each weight once, and each cache up to `position`.

    From an embedding table, one row is read for each row of the batch.
    """
    c, inputs = model.config, model.inputs
    tables = [inputs.position, inputs.start, *([] if c.tied else [inputs.token])]
    looked_up = sum(each.weight.numel() for each in tables if each is not None)
    weights = sum(parameter.numel() for parameter in model.parameters()) - looked_up
    cached = cache_numbers(model, rows) * (position + 1) / model.data.length
    products = sum(p.numel() for p in model.parameters() if p.ndim == 2) - looked_up
    operations = rows * (2.0 * products + 4.0 * c.layers * c.heads * c.head_size * (position + 1))
    return Work((weights + cached + rows * c.width) * dtype.itemsize, operations, dtype)


def cache_numbers(model: Transformer, rows: int) -> int:
    """Return the number of elements in the caches for a batch size."""
    c = model.config
    return 2 * c.layers * rows * c.group_heads * model.data.length * c.head_size


def export(stepped: Stepped, folder: Path) -> None:
    """Write the bundle, unless it exists."""
    from ancestral.export.bundle import export_bundle

    out = folder / stepped.name
    if not out.exists():
        model = made(stepped)
        export_bundle(
            model if stepped.exported is None else model.shortened(stepped.exported),
            out,
            graphs=cases.GRAPHS,
            progress=lambda line: print(f"{stepped.name}: {line}", flush=True),
        )


def main() -> None:
    """Export the bundles on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", choices=list(STEPPED))
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in options.models:
        export(STEPPED[name], options.folder)


if __name__ == "__main__":
    main()
