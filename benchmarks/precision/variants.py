"""The types of weights and activations that are compared, and how each bundle is made."""

from collections.abc import Callable, Mapping
from pathlib import Path

from ancestral.bundles.cost import Cost

Measure = Callable[[Path], Cost]
Make = Callable[[Path, Path, Measure | None], None]
"""A function that writes the variant of a float32 bundle; it measures the cost if it can."""
FLOAT32 = "float32"


def _sixteen_bits(source: Path, out: Path, measure: Measure | None) -> None:
    from ancestral.export.recast import recast

    recast(source, out, "float16")


def _quantised(**settings: object) -> Make:
    def make(source: Path, out: Path, measure: Measure | None) -> None:
        from ancestral.export.quantise import quantise_bundle
        from ancestral.train.quantisation.quantise import planned

        def plan(model):  # type: ignore[no-untyped-def]
            return planned(model, **settings)  # type: ignore[arg-type]

        quantise_bundle(source, out, plan, measure=measure)

    return make


VARIANTS: Mapping[str, Make] = {
    "float16": _sixteen_bits,
    "int8": _quantised(weights="int8", group=128),
    "int8, int8 activations": _quantised(weights="int8", group=128, compute="int8"),
    "int4": _quantised(weights="int4", group=32),
    "int4, groups of 128": _quantised(weights="int4", group=128),
}
"""Functions that make a bundle, by the name in the rows."""
