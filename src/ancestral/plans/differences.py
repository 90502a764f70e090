"""How the tensors of a network or an engine of TensorRT differ from a signature."""

from collections.abc import Iterator, Mapping, Sequence

from ancestral.plans.modules import DTYPES
from ancestral.signature import TensorSpec


def differences(
    side: str, found: Mapping[str, tuple[str, Sequence[int]]], specs: Sequence[TensorSpec]
) -> Iterator[str]:
    """Where a network or an engine has other tensors than a signature, in words.

    Args:
        side: input or output.
        found: by name, the type as the modules call it, and the shape, -1 where it is open.
        specs: the tensors of the signature on that side.
    """
    for spec in specs:
        if spec.name not in found:
            yield f"{side} {spec.name}: was dropped"
            continue
        name, shape = found[spec.name]
        dtype = DTYPES.get(name, name)
        if dtype != spec.dtype:
            yield f"{side} {spec.name}: expected {spec.dtype}, got {dtype}"
        if not spec.fits(tuple(shape)):
            yield f"{side} {spec.name}: expected axes {spec.axes}, got {tuple(shape)}"
    for name in sorted(set(found) - {spec.name for spec in specs}):
        yield f"{side} {name}: is no tensor of the graph"
