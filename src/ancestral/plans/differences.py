"""Compare the tensors of a TensorRT network or engine with a signature."""

from collections.abc import Iterator, Mapping, Sequence

from ancestral.plans.modules import DTYPES
from ancestral.signature import TensorSpec


def differences(
    side: str, found: Mapping[str, tuple[str, Sequence[int]]], specs: Sequence[TensorSpec]
) -> Iterator[str]:
    """Describe how the tensors of a network or an engine differ from a signature.

    Args:
        side: "input" or "output".
        found: TensorRT's dtype and the shape of each tensor by name; -1 is an open axis.
        specs: tensors of the signature on that side.
    """
    for spec in specs:
        if spec.name not in found:
            yield f"{side} {spec.name}: missing"
            continue
        name, shape = found[spec.name]
        dtype = DTYPES.get(name, name)
        if dtype != spec.dtype:
            yield f"{side} {spec.name}: expected {spec.dtype}, got {dtype}"
        if not spec.fits(tuple(shape)):
            yield f"{side} {spec.name}: expected axes {spec.axes}, got {tuple(shape)}"
    for name in sorted(set(found) - {spec.name for spec in specs}):
        yield f"{side} {name}: not in the signature of the graph"
