"""What a folder holds beside what its config.json asks for: every tensor that does not fit."""

from collections.abc import Mapping
from dataclasses import dataclass

Shape = tuple[int, ...]
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
"""Types that weights may be stored in, as safetensors names them."""


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
    found: Mapping[str, Header], expected: Mapping[str, tuple[Shape, ...]]
) -> list[str]:
    """Every tensor that is missing, foreign, of another shape, or no floats.

    Args:
        found: of the folder.
        expected: the shapes that each may have; the first is the one that is told.
    """
    missing = sorted(expected.keys() - found.keys())
    foreign = sorted(found.keys() - expected.keys())
    problems = [f"{name}: missing, of shape {list(expected[name][0])}" for name in missing]
    problems += [f"{name}: foreign, of shape {list(found[name].shape)}" for name in foreign]
    for name in sorted(found.keys() & expected.keys()):
        header, shapes = found[name], expected[name]
        if header.shape not in shapes:
            problems.append(f"{name}: expected shape {list(shapes[0])}, got {list(header.shape)}")
        if header.dtype not in FLOATS:
            problems.append(f"{name}: expected floats, got {header.dtype}")
    return problems
