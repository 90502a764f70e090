"""One graph of a bundle by its plans: run once, in pieces if needed, or bound to a loop."""

import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from ancestral.engine.backends.tensor_binding import to_host
from ancestral.engine.backends.tensorrt_loop import TensorRtBinding
from ancestral.engine.backends.tensorrt_plans import GraphPlans
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput

_DIVISIBLE = ("b", "k")
"""Axes along which each index is computed independently, so that a run may be cut there."""


class TensorRtSession:
    """One graph on its plans."""

    def __init__(self, plans: GraphPlans, levels: int) -> None:
        """Create a session.

        Args:
            plans: plans of the graph.
            levels: number of levels of the events.
        """
        self.signature, self.plans = plans.signature, plans
        self._levels = levels
        self._bindings: weakref.WeakSet[TensorRtBinding] = weakref.WeakSet()

    @property
    def tensors_bytes(self) -> int:
        """Bytes of the GPU's memory that its loops take."""
        with self.plans.lane.active():
            return sum(binding.bytes for binding in self._bindings)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; in pieces of rows, or of latents, if no plan takes all of them in one run."""
        sizes = self._sizes(inputs)
        outputs = self.signature.outputs
        cut = [a for a in _DIVISIBLE if a in sizes and all(a in spec.axes for spec in outputs)]
        most = self.plans.choice.pieces(sizes, cut)
        return self._pieces(inputs, sizes, [(axis, most[axis]) for axis in cut])

    def bind(self, sizes: Mapping[str, int]) -> TensorRtBinding:
        """Allocate a loop.

        Raises:
            PlanError: no plan takes so many rows.
        """
        named = {axis: sizes[axis] for axis in self.plans.axes}
        binding = TensorRtBinding(self.plans, self._levels, named)
        with self.plans.lane.active():
            self._bindings.add(binding)
        return binding

    def _pieces(
        self,
        inputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        cut: Sequence[tuple[str, int]],
    ) -> dict[str, Array]:
        """Run in pieces of nearly equal size along the first axis that is too long."""
        long = next(((axis, most) for axis, most in cut if sizes[axis] > most), None)
        if long is None:
            return self._run(inputs, sizes)
        axis, most = long
        parts = []
        for index in np.array_split(np.arange(sizes[axis]), -(-sizes[axis] // most)):
            some = {
                spec.name: inputs[spec.name].take(index, spec.axes.index(axis))
                if axis in spec.axes
                else inputs[spec.name]
                for spec in self.signature.inputs
            }
            parts.append(self._pieces(some, {**sizes, axis: len(index)}, cut))
        return {
            spec.name: np.concatenate([part[spec.name] for part in parts], spec.axes.index(axis))
            for spec in self.signature.outputs
        }

    def _run(self, inputs: Mapping[str, Array], sizes: Mapping[str, int]) -> dict[str, Array]:
        lane = self.plans.lane
        with lane.active():
            tensors = {}
            for spec in self.signature.inputs:
                # The lane's own memory, because the library can read its addresses.
                tensor = lane.empty(spec.shape(sizes), getattr(torch, spec.dtype))
                tensors[spec.name] = tensor.copy_(torch.tensor(inputs[spec.name]))
            outputs = self.plans.execute(tensors, sizes)
            return {spec.name: to_host(outputs[spec.name], spec) for spec in self.signature.outputs}

    def _sizes(self, inputs: Mapping[str, Array]) -> dict[str, int]:
        """Return the sizes of the named axes.

        Raises:
            InvalidInput: an input is missing, or has another type or a shape that does not fit.
        """
        sizes: dict[str, int] = {}
        for spec in self.signature.inputs:
            array = inputs.get(spec.name)
            if array is None or array.ndim != len(spec.axes) or array.dtype != spec.host:
                got = "no array" if array is None else f"{array.dtype} {array.shape}"
                raise InvalidInput(f"{spec.name}: expected {spec.host} {spec.axes}, got {got}")
            for axis, size in zip(spec.axes, array.shape, strict=True):
                if size != (sizes.setdefault(axis, size) if isinstance(axis, str) else axis):
                    raise InvalidInput(
                        f"{spec.name}: expected {spec.axes} at {sizes}, got {array.shape}"
                    )
        return sizes
