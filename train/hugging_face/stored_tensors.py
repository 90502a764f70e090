"""Tensors of a folder: their headers, which of them do not fit, and what ours are made of."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

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
        expected: the shapes that each may have; the first is the one that errors name.
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


@dataclass(frozen=True, slots=True)
class Entry:
    """One of our tensors, and what it is made of: columns side by side, in float32.

    Attributes:
        ours: its name in the state dict of a Transformer.
        stored: names of the folder and the shapes that config.json gives them, in the order of the
            columns; of one dimension: of the features.
        transposed: whether they are stored [out, in].
        rows: only these rows (first, last + 1).
        heads: of a fused map whose features are q, k and v of one head after the other: the number
            of heads; they become those of all q, all k, all v.
        scaled: a number of features, the first ones, and what they are multiplied by.
    """

    ours: str
    stored: Mapping[str, Shape]
    transposed: bool = False
    rows: tuple[int, int] | None = None
    heads: int | None = None
    scaled: tuple[int, float] | None = None

    @property
    def shape(self) -> Shape:
        """Shape of our tensor."""
        shapes = [each[::-1] if self.transposed else each for each in self.stored.values()]
        before = shapes[0][:-1]
        if self.rows is not None:
            before = (self.rows[1] - self.rows[0], *before[1:])
        return (*before, sum(shape[-1] for shape in shapes))


def assemble(entry: Entry, read: Callable[[str], Tensor]) -> Tensor:
    """One of our tensors, out of a folder's; one of those is held at a time.

    16-bit floats are widened to float32, which is exact.
    """
    made = torch.empty(entry.shape)
    last, at = made.ndim - 1, 0
    for name in entry.stored:
        part = _arranged(entry, read(name))
        features = part.shape[last:]
        width = math.prod(features)
        made.narrow(last, at, width).unflatten(last, features).copy_(part)
        at += width
        del part
    if entry.scaled is not None:
        first, factor = entry.scaled
        made[..., :first] *= factor
    return made


def _arranged(entry: Entry, stored: Tensor) -> Tensor:
    """A view of a stored tensor in our order; the features may be several dimensions."""
    if entry.transposed and stored.ndim == 2:
        stored = stored.T
    if entry.rows is not None:
        stored = stored[slice(*entry.rows)]
    if entry.heads is not None:
        stored = stored.unflatten(-1, (entry.heads, 3, -1)).transpose(-3, -2)
    return stored
