"""Stored tensors: their headers, which of them do not fit, and how ours are made of them."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Shape = tuple[int, ...]
FLOATS = frozenset({"F16", "BF16", "F32", "F64"})
"""Floating-point types of stored weights, by safetensors' names."""
DTYPES = {
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int32: "I32",
    torch.int64: "I64",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
"""Names of PyTorch's types in safetensors."""


@dataclass(frozen=True, slots=True)
class Header:
    """The shape and type of a stored tensor.

    Attributes:
        shape: shape as stored.
        dtype: type, by safetensors' name.
    """

    shape: Shape
    dtype: str


def differences(
    found: Mapping[str, Header],
    expected: Mapping[str, tuple[Shape, ...]],
    types: Mapping[str, Collection[str]] | None = None,
) -> list[str]:
    """Return a line for every tensor that is missing, unexpected, or of another shape or type.

    Args:
        found: headers of the stored tensors, by name.
        expected: allowed shapes of each tensor, by name; messages show the first.
        types: allowed types of each tensor, by name; None allows any floating-point type.
    """
    missing = sorted(expected.keys() - found.keys())
    foreign = sorted(found.keys() - expected.keys())
    problems = [f"{name}: missing, of shape {list(expected[name][0])}" for name in missing]
    problems += [f"{name}: unexpected, of shape {list(found[name].shape)}" for name in foreign]
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
    """One of our tensors, and the stored tensors whose columns form it, in float32.

    Attributes:
        ours: name in the state dict of a Transformer.
        stored: shapes of the stored tensors according to config.json, by name, in the order of
            their columns; a tensor with one dimension has only features.
        transposed: whether the stored maps are [out, in].
        rows: rows to use (first, last + 1); None uses all.
        heads: number of heads of a fused map whose features are q, k and v of one head after
            another; they are reordered to all q, all k, all v. None for other tensors.
        scaled: number of leading features to multiply, and their factor; None for no factor.
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
    """Assemble one of our tensors; one stored tensor is held in memory at a time.

    16-bit floats are converted to float32, which is exact.
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
    """Return a view of a stored tensor in our order; the features may be several dimensions."""
    if entry.transposed and stored.ndim == 2:
        stored = stored.T
    if entry.rows is not None:
        stored = stored[slice(*entry.rows)]
    if entry.heads is not None:
        stored = stored.unflatten(-1, (entry.heads, 3, -1)).transpose(-3, -2)
    return stored
