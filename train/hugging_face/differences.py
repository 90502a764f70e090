"""What a folder holds beside what its config.json asks for: every tensor that does not fit."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch

Shape = tuple[int, ...]
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
"""Types that weights may be stored in, as safetensors names them."""
DTYPES = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.bool: "BOOL",
}
"""Their names of PyTorch's types."""


@dataclass(frozen=True, slots=True)
class Header:
    """What is known of a tensor before it is read.

    Attributes:
        shape: as stored.
        dtype: as safetensors names it.
    """

    shape: Shape
    dtype: str


def differences(
    found: Mapping[str, Header],
    expected: Mapping[str, tuple[Shape, ...]],
    types: Mapping[str, Collection[str]] | None = None,
) -> list[str]:
    """Every tensor that is missing, foreign, of another shape, or of another type.

    Args:
        found: of the folder.
        expected: the shapes that each may have; the first is the one that is told.
        types: that each may have; floats where None.
    """
    missing = sorted(expected.keys() - found.keys())
    foreign = sorted(found.keys() - expected.keys())
    problems = [f"{name}: missing, of shape {list(expected[name][0])}" for name in missing]
    problems += [f"{name}: foreign, of shape {list(found[name].shape)}" for name in foreign]
    for name in sorted(found.keys() & expected.keys()):
        header, shapes = found[name], expected[name]
        if header.shape not in shapes:
            problems.append(f"{name}: expected shape {list(shapes[0])}, got {list(header.shape)}")
        allowed = FLOATS if types is None else types[name]
        if header.dtype not in allowed:
            words = "floats" if types is None else " or ".join(sorted(allowed))
            problems.append(f"{name}: expected {words}, got {header.dtype}")
    return problems
