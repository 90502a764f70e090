"""One graph of a bundle by its plans: which one runs, in which of its profiles, in which pieces."""

import weakref
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from ancestral.engine.backends.cuda_graphs import Lane
from ancestral.engine.backends.host_arrays import to_device, to_host
from ancestral.engine.backends.tensorrt_library import Library
from ancestral.engine.backends.tensorrt_loop import TensorRtBinding
from ancestral.engine.backends.tensorrt_plan import Context, GpuMemory, LoadedPlan
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput
from ancestral.plans.choice import PlanChoice
from ancestral.plans.store import PlanRecord, PlanStore
from ancestral.signature import GraphSignature

_APART = ("b", "k")
"""Axes along which a graph computes each index by itself: a run may be cut there."""
_ALL = 2**30
"""More rows than any plan takes."""


class TensorRtSession:
    """One graph; plans are loaded when sizes that they serve are first run."""

    def __init__(
        self,
        signature: GraphSignature,
        choice: PlanChoice,
        store: PlanStore,
        library: Library,
        lane: Lane,
        levels: int,
    ) -> None:
        """Load the plan that takes most at once.

        Args:
            signature: of the graph.
            choice: among its plans.
            store: where they are.
            library: that made them.
            lane: where they run.
            levels: of the events.

        Raises:
            PlanError: no plan serves this graph here.
        """
        self.signature, self.lane, self.levels = signature, lane, levels
        self._choice, self._store, self._library = choice, store, library
        self._axes = tuple(
            dict.fromkeys(a for spec in signature.inputs for a in spec.axes if isinstance(a, str))
        )
        self._plans: dict[str, LoadedPlan] = {}
        self._contexts: dict[tuple[str, int], Context] = {}
        self._bindings: weakref.WeakSet[TensorRtBinding] = weakref.WeakSet()
        self._load(choice.widest())

    @property
    def memory(self) -> GpuMemory:
        """Bytes of the GPU that its plans and loops take."""
        with self.lane.active():
            total = GpuMemory(0, 0, sum(binding.bytes for binding in self._bindings))
            for plan in self._plans.values():
                total += plan.memory
        return total

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run once; in pieces of rows, or of latents, where no plan takes all at once."""
        sizes = self._sizes(inputs)
        cut = tuple(axis for axis in self._cut(1) if axis in sizes)
        most = self._choice.pieces(sizes, cut)
        return self._pieces(inputs, sizes, [(axis, most[axis]) for axis in cut])

    def bind(self, sizes: Mapping[str, int]) -> TensorRtBinding:
        """Allocate a loop.

        Raises:
            PlanError: no plan takes as many rows.
        """
        binding = TensorRtBinding(self, {axis: sizes[axis] for axis in self._axes})
        with self.lane.active():
            self._bindings.add(binding)
        return binding

    def plan(self, sizes: Mapping[str, int]) -> tuple[LoadedPlan, int]:
        """The plan that runs at these sizes, loaded, and which of its profiles.

        Raises:
            PlanError: there is none, or it does not load.
        """
        record, profile = self._choice.serving(sizes)
        return self._load(record), profile

    def most_rows(self, block: int = 1) -> int:
        """Rows of a loop that a plan takes at once, at blocks of so many positions.

        Raises:
            PlanError: no plan takes such blocks.
        """
        others = {"s": block} if "s" in self._axes else {}
        return self._choice.pieces({"b": _ALL, **others}, ("b",))["b"]

    def execute(self, tensors: Mapping[str, Tensor], sizes: Mapping[str, int]) -> dict[str, Tensor]:
        """Enqueue one run over tensors in the lane, which has to be active.

        Caches that the library appends to in place are written where they are.

        Raises:
            PlanError: no plan serves these sizes, or the library refuses.
        """
        plan, profile = self.plan(sizes)
        key = (plan.record.key.digest, profile)
        if key not in self._contexts:
            self._contexts[key] = plan.context(profile, loop=False)
        aliased = {
            pair.output: tensors[pair.input]
            for pair in self.signature.carried
            if pair.input in plan.in_place
        }
        outputs = {
            spec.name: aliased[spec.name]
            if spec.name in aliased
            else self.lane.empty(spec.shape(sizes), getattr(torch, spec.dtype))
            for spec in self.signature.outputs
        }
        context = self._contexts[key]
        context.shape(sizes)
        context.bind({**tensors, **outputs})
        context.run()
        return outputs

    def _load(self, record: PlanRecord) -> LoadedPlan:
        """A plan on the GPU, loaded once."""
        digest = record.key.digest
        with self.lane.active():
            if digest not in self._plans:
                plan = self._store.read(record)
                self._plans[digest] = LoadedPlan(
                    self._library, record, plan, self.signature, self.lane
                )
            return self._plans[digest]

    def _cut(self, size: int) -> dict[str, int]:
        """That size for each axis along which a run may be cut: all results have it."""
        return {
            axis: size
            for axis in _APART
            if axis in self._axes and all(axis in spec.axes for spec in self.signature.outputs)
        }

    def _pieces(
        self,
        inputs: Mapping[str, Array],
        sizes: Mapping[str, int],
        cut: Sequence[tuple[str, int]],
    ) -> dict[str, Array]:
        """Run in pieces along the first axis that is too long, of sizes that hardly differ."""
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
        with self.lane.active():
            tensors = {}
            for spec in self.signature.inputs:
                # The lane's own memory, for its addresses are what the library can read.
                tensor = self.lane.empty(spec.shape(sizes), getattr(torch, spec.dtype))
                tensors[spec.name] = tensor.copy_(to_device(inputs[spec.name], spec, "cpu"))
            outputs = self.execute(tensors, sizes)
            return {spec.name: to_host(outputs[spec.name], spec) for spec in self.signature.outputs}

    def _sizes(self, inputs: Mapping[str, Array]) -> dict[str, int]:
        """Sizes of the named axes.

        Raises:
            InvalidInput: an input is missing, of another type, or of a shape that does not fit.
        """
        sizes: dict[str, int] = {}
        for spec in self.signature.inputs:
            array = inputs.get(spec.name)
            if array is None or array.ndim != len(spec.axes) or array.dtype != spec.host:
                got = "none" if array is None else f"{array.dtype} {array.shape}"
                raise InvalidInput(f"{spec.name}: expected {spec.host} {spec.axes}, got {got}")
            for axis, size in zip(spec.axes, array.shape, strict=True):
                if size != (sizes.setdefault(axis, size) if isinstance(axis, str) else axis):
                    raise InvalidInput(
                        f"{spec.name}: expected {spec.axes} at {sizes}, got {array.shape}"
                    )
        return sizes
