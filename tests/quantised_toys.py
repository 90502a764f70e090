"""Quantised toys: bundles whose weights have 4 or 8 bits, made from those of the toys.

The toys are small, so the limits on sizes are lowered: every weight is quantised, products read
codes, and with `compute: int8` all maps round their activations.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ancestral.bundles.quantisation import Compute, Quantisation, Weights
from ancestral.export.quantise import quantise_bundle
from ancestral.train.models.families import Model
from ancestral.train.quantisation import modules
from ancestral.train.quantisation import quantise as planning
from ancestral.train.quantisation.quantise import planned
from ancestral.triton_kernels.quantised_linear import onnx as quantised_linear_onnx
from ancestral.triton_kernels.quantised_rows import onnx as quantised_rows_onnx
from tests.tamper import change_manifest, copied

GRAPHS = ("log_prob", "logits", "redraw", "step")
"""Graphs of autoregressive toys."""
GROUP = 16
"""Numbers that share a scale; the columns of most toys are not a multiple of it."""


@dataclass(frozen=True, slots=True)
class Way:
    """A way to quantise a toy.

    Attributes:
        weights: type of the weights.
        symmetric: whether maps have no zero points.
        compute: type of the activations in products.
        half_scales: whether scales are stored in float16.
        packed: whether ONNX Runtime reads the codes in every product, however small.
    """

    weights: Weights
    symmetric: bool = True
    compute: Compute = "float32"
    half_scales: bool = False
    packed: bool = True

    def plan(self, model: Model) -> Quantisation:
        """Plan to quantise every weight of a toy."""
        return planned(
            model,
            self.weights,
            group=GROUP,
            symmetric=self.symmetric,
            compute=self.compute,
            half_scales=self.half_scales,
        )


WAYS = {
    "int8": Way("int8"),
    "int4": Way("int4", symmetric=False, half_scales=True),
    "int8.loaded": Way("int8", symmetric=False, packed=False),
    "int4.loaded": Way("int4", packed=False),
    "int8.rounded": Way("int8", compute="int8"),
    "int4.rounded": Way("int4", symmetric=False, compute="int8", half_scales=True),
}
"""Ways by name. loaded: matrices are dequantised when a graph is loaded. rounded: activations have
8 bits."""


@contextmanager
def any_size(way: Way) -> Iterator[None]:
    """Lower the limits on the sizes of weights while bundles are written or loaded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SMALLEST", 8)
        patch.setattr(modules, "SMALLEST_ROUNDED", 1)
        for each in (quantised_linear_onnx, quantised_rows_onnx):
            patch.setattr(each, "SMALLEST_PACKED", 1 if way.packed else 2**40)
        yield


def quantise_toy(source: Path, out: Path, name: str) -> Path:
    """Quantise the bundle of a toy in a way of `WAYS`, with the graphs that `compare` runs."""
    way = WAYS[name]
    with any_size(way), tempfile.TemporaryDirectory() as folder:
        return quantise_bundle(_with_few_graphs(source, Path(folder)), out, way.plan)


def _with_few_graphs(source: Path, folder: Path) -> Path:
    """Return a copy of a bundle without the graphs that only other tests need."""

    def leave_out(manifest: dict[str, Any]) -> None:
        names = set(manifest["graphs"]) - set(GRAPHS)
        if manifest["kind"] == "autoregressive":
            for name in names:
                for file in manifest["graphs"].pop(name)["files"].values():
                    del manifest["files"][file]

    copy = copied(source, folder)
    change_manifest(copy, leave_out)
    return copy
