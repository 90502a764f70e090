"""How a Transformer's tensors are made of a folder's: records, and what reads them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ancestral.train.hugging_face.differences import Shape


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the folder, of the shape that config.json gives it."""

    name: str
    shape: Shape


@dataclass(frozen=True, slots=True)
class Entry:
    """One of our tensors, and what it is made of: columns side by side, in float32.

    Attributes:
        ours: its name in the state dict of a Transformer.
        stored: of the folder, in the order of the columns; of one dimension: of the features.
        transposed: whether they are stored [out, in].
        rows: the rows (first, last + 1) alone.
        heads: of a fused map whose features are q, k and v of one head after the other: the number
            of heads; they become those of all q, all k, all v.
        scaled: a number of features, the first ones, and what they are multiplied by.
    """

    ours: str
    stored: tuple[Stored, ...]
    transposed: bool = False
    rows: tuple[int, int] | None = None
    heads: int | None = None
    scaled: tuple[int, float] | None = None

    @property
    def shape(self) -> Shape:
        """Of our tensor."""
        shapes = [each.shape[::-1] if self.transposed else each.shape for each in self.stored]
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
    for each in entry.stored:
        part = _arranged(entry, read(each.name))
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
