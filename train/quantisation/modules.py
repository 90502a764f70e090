"""Modules that store the codes of a weight, and give it back in float32 to whoever asks for it."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ancestral.bundles.quantisation import Compute, QuantisedTensor
from ancestral.train.quantisation.places import SMALLEST_ROUNDED, Place, from_matrix
from ancestral.train.quantisation.rounding import Codes
from ancestral.triton_kernels.dequantise import dequantise
from ancestral.triton_kernels.quantised_linear import Quantised
from ancestral.triton_kernels.quantised_rows import quantised_rows

_PARTS = ("codes", "scale", "zero")


class QuantisedModule(nn.Module):
    """Base class of modules with a quantised weight; their other base is the module's own class.

    A weight `weight` is stored as buffers `weight_codes`, `weight_scale` and, unless it is
    symmetric, `weight_zero`.
    """

    _stored: dict[str, tuple[tuple[int, ...], int, int, bool]]
    """Shape, axis of the rows, bits of a code, and whether activations are rounded."""

    def quantised(self, attribute: str) -> Quantised:
        """Return the codes of a weight."""
        shape, axis, bits, rounded = self._stored[attribute]
        zero = self._buffers.get(f"{attribute}_zero")
        codes, scale = (getattr(self, f"{attribute}_{part}") for part in _PARTS[:2])
        return Quantised(codes, scale, zero, math.prod(shape) // shape[axis], bits, rounded)

    def dequantised(self, attribute: str) -> Tensor:
        """Return a weight in its own shape."""
        shape, axis, *_ = self._stored[attribute]
        codes, scale, zero, width, bits, _ = self.quantised(attribute)
        return from_matrix(dequantise(codes, scale, zero, width, bits), shape, axis)


class _Rows(nn.Module):
    """A table that dequantises only the rows that it is asked for."""

    def forward(self, ids: Tensor) -> Tensor:
        assert isinstance(self, QuantisedModule)
        codes, scale, zero, width, bits, _ = self.quantised("weight")
        return quantised_rows(ids, codes, scale, zero, width, bits)


def store(place: Place, codes: Codes, how: QuantisedTensor, compute: Compute) -> None:
    """Replace a weight of a module by its codes, in place."""
    module, attribute = place.module, place.attribute
    known = module._stored if isinstance(module, QuantisedModule) else {}
    shape = tuple(place.weight.shape)
    large = place.kind == "map" and place.weight.numel() >= SMALLEST_ROUNDED
    rounded = compute == "int8" and large
    stored = {**known, attribute: (shape, place.axis, how.bits, rounded)}
    del module._parameters[attribute]
    for part, tensor in zip(_PARTS, codes, strict=True):
        if tensor is not None:
            module.register_buffer(f"{attribute}_{part}", tensor)
    module.__class__ = _class(_origin(module), tuple(stored))
    assert isinstance(module, QuantisedModule)
    module._stored = stored


def empty(place: Place, how: QuantisedTensor) -> Codes:
    """Return codes without memory, in the shapes of a weight's, to be loaded."""
    n, k = place.matrix.shape
    groups = -(-k // how.group)
    points = -(-groups * how.bits // 8)
    stored = how.group * how.bits // 8
    with torch.device("meta"):
        return Codes(
            torch.empty(n, groups, stored, dtype=torch.uint8),
            torch.empty(n, groups),
            None if how.symmetric else torch.empty(n, points, dtype=torch.uint8),
        )


def _origin(module: nn.Module) -> type[nn.Module]:
    """Return the class that a module had before its first weight was quantised."""
    found: type[nn.Module] = getattr(module, "origin", type(module))
    return found


def _class(base: type[nn.Module], attributes: tuple[str, ...]) -> type[nn.Module]:
    """Return the class of a module with some quantised weights."""
    fields: dict[str, Any] = {"origin": base} | {name: _weight(name) for name in attributes}
    rows = (_Rows,) if issubclass(base, nn.Embedding) else ()
    bases = (QuantisedModule, *rows, base)
    made: type[nn.Module] = type(f"Quantised{base.__name__}", bases, fields)
    return made


def _weight(name: str) -> property:
    """Return a property that dequantises a weight."""

    def read(module: QuantisedModule) -> Tensor:
        return module.dequantised(name)

    return property(read)
