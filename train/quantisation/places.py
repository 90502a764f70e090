"""The weights of a model that can be quantised, and how each is seen as a matrix [n, k].

Rows are output features of a map, or entries of a table.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from ancestral.train.models.layers import Linear
from ancestral.train.models.patch_convolution import PatchConvolution
from ancestral.train.models.recurrent import Layer

Kind = Literal["map", "table", "patches", "convolution", "recurrent"]
"""Maps and tables have kernels that read codes. A step multiplies patches as a map, but a pass over
a whole event dequantises them; so they never round activations. The others are dequantised when
they are loaded."""
SMALLEST = 2**12
"""Numbers of the smallest weight that is quantised; below, a node costs more than it saves."""
SMALLEST_ROUNDED = 2**18
"""Numbers of the smallest map whose products round their activations, where that is asked for."""
_CLASSES: tuple[tuple[type[nn.Module], str, Kind, int], ...] = (
    (Linear, "weight", "map", 1),
    (nn.Linear, "weight", "map", 0),
    (nn.Embedding, "weight", "table", 0),
    (PatchConvolution, "weight", "patches", 1),
    (nn.Conv2d, "weight", "convolution", 0),
    (nn.ConvTranspose2d, "weight", "convolution", 1),
    (Layer, "w", "recurrent", 1),
    (Layer, "r", "recurrent", 1),
)
"""Classes with a weight, its attribute, its kind, and the axis of its rows."""


@dataclass(frozen=True, slots=True)
class Place:
    """A weight of a model.

    Attributes:
        name: name in the model's state_dict.
        module: module that it belongs to.
        attribute: its name in the module.
        kind: what the module is.
        axis: axis of the output features.
    """

    name: str
    module: nn.Module
    attribute: str
    kind: Kind
    axis: int

    @property
    def weight(self) -> Tensor:
        """The weight as stored."""
        found: Tensor = getattr(self.module, self.attribute)
        return found

    @property
    def matrix(self) -> Tensor:
        """The weight as a matrix [n, k]."""
        return as_matrix(self.weight.detach(), self.axis)


def as_matrix(weight: Tensor, axis: int) -> Tensor:
    """Return a weight as a matrix whose rows are its entries along an axis."""
    return weight.movedim(axis, 0).flatten(1)


def from_matrix(matrix: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    """Return the weight of a shape that `as_matrix` gives as this matrix."""
    rest = [size for i, size in enumerate(shape) if i != axis]
    return matrix.unflatten(1, rest).movedim(0, axis)


def places(model: nn.Module) -> Iterator[Place]:
    """Yield the weights of a model that can be quantised, in the order of its modules.

    A weight that two modules share is left out: codes would be stored twice.
    """
    found: dict[int, list[Place]] = {}
    for path, module in model.named_modules():
        for kind_of, attribute, kind, axis in _CLASSES:
            if isinstance(module, kind_of):
                name = f"{path}.{attribute}" if path else attribute
                place = Place(name, module, attribute, kind, axis)
                found.setdefault(id(place.weight), []).append(place)
    yield from (each[0] for each in found.values() if len(each) == 1)
