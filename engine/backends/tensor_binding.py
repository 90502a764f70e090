"""The tensors of a loop in PyTorch's memory, shared by the backends that keep them there."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ancestral.engine.noise import Noise
from ancestral.engine.session import Array, check_part, tensor_of
from ancestral.signature import GraphSignature, TensorSpec
from ancestral.step_tensors import OFFSETS, U

_ALIGNED = 64
"""Alignment of a tensor's memory in bytes, as PyTorch's own: bits of a result may depend on it."""


def initial_tensors(
    signature: GraphSignature, make: Callable[[TensorSpec, float], Tensor]
) -> dict[str, Tensor]:
    """Return the inputs of a graph by name, carried ones at their initial values, others at 0.

    The offsets of a block are left out, because they depend on the block.
    """
    initial = {pair.input: pair.initial for pair in signature.carried}
    return {
        spec.name: make(spec, initial.get(spec.name, 0.0))
        for spec in signature.inputs
        if spec.name != OFFSETS
    }


class TensorBinding(ABC):
    """The tensors of a loop by name; a subclass steps them."""

    fixed: ClassVar[bool] = True
    """Whether a tensor keeps its address, from which CUDA graphs read it."""

    def __init__(
        self,
        signature: GraphSignature,
        tensors: dict[str, Tensor],
        active: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Create a loop over tensors.

        Args:
            signature: signature of the graph.
            tensors: inputs of the graph by name, with their current values.
            active: makes a context in which tensors are read and written.
        """
        self._signature, self._tensors, self._active = signature, tensors, active

    def write(self, name: str, array: Array, rows: slice | None = None) -> None:
        target = tensor_of(self._tensors, name)[slice(None) if rows is None else rows]
        check_part(name, array, tuple(target.shape), self._signature.input(name).host)
        with self._active():
            target.copy_(torch.tensor(array))

    def read(self, name: str, rows: slice | None = None) -> Array:
        with self._active():
            tensor = tensor_of(self._tensors, name)
            return to_host(tensor if rows is None else tensor[rows], self._signature.input(name))

    def draw_from(self, noise: Noise) -> None:
        self.write(U, noise.uniforms(*self._tensors[U].shape))

    def gather(self, rows: Array) -> None:
        with self._active():
            for pair in self._signature.carried:
                tensor = self._tensors[pair.input]
                self._put(pair.input, tensor[torch.tensor(rows, device=tensor.device)])

    @abstractmethod
    def run(self, steps: int = 1, *, block: int = 1, rows: slice | None = None) -> None: ...

    def _put(self, name: str, tensor: Tensor) -> None:
        if self.fixed:
            self._tensors[name].copy_(tensor)
        else:
            self._tensors[name] = tensor


def keep(old: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> None:
    """Write new values into the memory of old ones, unless they are there already.

    A new value may be a view of another old tensor; it is copied before that is overwritten.
    """
    memory = {tensor.untyped_storage().data_ptr() for tensor in old.values()}
    moved = [
        (old[name], tensor.clone() if tensor.untyped_storage().data_ptr() in memory else tensor)
        for name, tensor in new.items()
        if tensor.data_ptr() != old[name].data_ptr()
    ]
    for target, tensor in moved:
        target.copy_(tensor)


def to_host(tensor: Tensor, spec: TensorSpec) -> Array:
    """Return a copy of a tensor as a host array of its spec's type."""
    typed = tensor.to(getattr(torch, spec.dtype))
    held: Array = typed.to(getattr(torch, str(spec.host))).cpu().numpy().copy()
    return held


def filled(shape: tuple[int, ...], value: float, dtype: torch.dtype, device: str) -> Tensor:
    """Return a tensor filled with one value; zeros on the host take memory only where written.

    A loop that is shorter than its caches never touches most of them. A value beyond a 16-bit type,
    for example -1e9 in float16, becomes infinite, as when a tensor is cast.
    """
    if value or device != "cpu":
        if dtype.is_floating_point:
            value = float(torch.tensor(value, dtype=torch.float64).to(dtype))
        return torch.full(shape, value, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    raw = torch.from_numpy(np.zeros(size + _ALIGNED, np.uint8))
    start = -raw.data_ptr() % _ALIGNED
    return raw[start : start + size].view(dtype).view(shape)
