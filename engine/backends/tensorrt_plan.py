"""A plan on a GPU: its engine, its scratch memory, and contexts over both."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ancestral.engine.backends.cuda_graphs import CudaLane
from ancestral.engine.backends.tensorrt_library import Library, new_cache
from ancestral.errors import PlanError
from ancestral.plans.differences import differences
from ancestral.plans.record import PlanRecord, removal
from ancestral.signature import GraphSignature, Update


class LoadedPlan:
    """A loaded plan that matches its record.

    Its contexts share scratch memory, so they run in one lane, one after another.
    """

    def __init__(
        self,
        library: Library,
        record: PlanRecord,
        plan: bytes,
        signature: GraphSignature,
        lane: CudaLane,
    ) -> None:
        """Load the engine onto the GPU of the lane.

        Args:
            library: library that made the plan.
            record: record of the plan.
            plan: bytes of the plan, which the store has checked.
            signature: signature of the graph that it was made from.
            lane: lane in which it runs.

        Raises:
            PlanError: the library does not load it, or its inputs or outputs differ from the graph.
        """
        self.record, self.signature, self.lane, self.library = record, signature, lane, library
        self.name = f"plan {record.key.digest[:12]} of graph {record.key.graph!r}"
        with lane.active():
            self._runtime = library.api.Runtime(library.log)
            self.engine = self._loaded(self._runtime, plan)
            problems = list(_problems(self)) or list(_other_profiles(self))
            if problems:
                raise PlanError(
                    f"{self.name}: does not match its graph ({'; '.join(problems)}); "
                    f"{removal(record.key.digest)} and compile it again"
                )
            self.in_place = self._aliases()
            self._scratch = lane.empty((max(1, self.engine.device_memory_size_v2),), torch.uint8)
            self._cache = new_cache(self.engine)
        weighs = self.engine.get_engine_stat() if hasattr(self.engine, "get_engine_stat") else 0
        self.weights_bytes = weighs if weighs > 0 else len(plan)
        self.scratch_bytes = self._scratch.numel()

    def context(self, profile: int, *, loop: bool) -> "Context":
        """Create an execution context.

        Args:
            profile: index of the profile that holds its sizes.
            loop: whether one shape is run very often.

        Raises:
            PlanError: the library cannot create it.
        """
        config = self.library.config(self.engine, self._cache, loop=loop)
        context = self.engine.create_execution_context(config)
        self.must(context is not None, "create a context")
        context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        self.must(
            context.set_optimization_profile_async(profile, self.lane.handle),
            f"use profile {profile}",
        )
        return Context(self, context)

    def must(self, done: bool, what: str) -> None:
        """Check that the library did something; the error repeats the library's own errors.

        Raises:
            PlanError: `done` is False.
        """
        if not done:
            library = self.library
            raise PlanError(
                f"{self.name}: {library.name} {library.version} cannot {what} "
                f"({library.taken_errors()}); compile it again, or use another backend"
            )

    def _loaded(self, runtime: Any, plan: bytes) -> Any:
        """Return the engine of the plan's bytes; host code in it is never allowed."""
        if hasattr(runtime, "get_engine_validity"):
            verdict, *found = runtime.get_engine_validity(plan)
            notes = ", ".join(map(str, found))
            self.must(verdict.name != "INVALID", f"use it on this GPU, diagnostics {notes}")
        engine = runtime.deserialize_cuda_engine(plan)
        self.must(engine is not None, "load it")
        return engine

    def _aliases(self) -> frozenset[str]:
        """Return the carried inputs that the library itself reports to append to in place.

        Raises:
            PlanError: it would overwrite what the loop still needs.
        """
        if not hasattr(self.engine, "get_aliased_input_tensor"):
            return frozenset(self.record.in_place)
        fed = {pair.output: pair for pair in self.signature.carried}
        found = set()
        for spec in self.signature.outputs:
            source = self.engine.get_aliased_input_tensor(spec.name)
            if not source:
                continue
            pair = fed.get(spec.name)
            if pair is None or pair.input != source or pair.update is not Update.APPEND:
                raise PlanError(
                    f"{self.name}: writes output {spec.name!r} over input {source!r}, which is not "
                    f"an append; compile it again with another release of {self.library.name}"
                )
            found.add(source)
        return frozenset(found)


class Context:
    """An execution context of an engine: set shapes, then addresses, then run."""

    def __init__(self, plan: LoadedPlan, context: Any) -> None:
        """Wrap a context whose profile is set; see `LoadedPlan.context`."""
        self._plan, self._context = plan, context

    def shape(self, sizes: Mapping[str, int]) -> None:
        """Set the sizes of the named axes, which must be within the profile.

        Raises:
            PlanError: the library refuses them, or the shapes of the outputs differ.
        """
        signature = self._plan.signature
        for spec in signature.inputs:
            shape = spec.shape(sizes)
            self._plan.must(
                self._context.set_input_shape(spec.name, shape), f"take {spec.name} {shape}"
            )
        missing = self._context.infer_shapes()
        self._plan.must(not missing, f"infer the shapes of {missing}")
        for spec in signature.outputs:
            got = lengths(self._context.get_tensor_shape(spec.name))
            if got != spec.shape(sizes):
                raise PlanError(
                    f"{self._plan.name}: expected output {spec.name!r} of shape "
                    f"{spec.shape(sizes)}, got {got}; compile it again"
                )

    def bind(self, tensors: Mapping[str, Tensor]) -> None:
        """Set the address of every input and output; the caller keeps the tensors alive.

        Raises:
            PlanError: the library refuses an address.
        """
        for name, tensor in tensors.items():
            self._plan.must(
                self._context.set_tensor_address(name, tensor.data_ptr()),
                f"take the address of {name}",
            )

    def run(self) -> None:
        """Enqueue one run in the lane.

        Raises:
            PlanError: the library cannot run it.
        """
        self._plan.must(self._context.execute_async_v3(self._plan.lane.handle), "run it")

    @property
    def capturable(self) -> bool:
        """Whether a run with the current shapes can be captured in a CUDA graph."""
        if not hasattr(self._context, "is_stream_capturable"):
            return True
        return bool(self._context.is_stream_capturable(self._plan.lane.handle))


def lengths(shape: Any) -> tuple[int, ...]:
    """Return a shape of the library as a tuple."""
    return tuple(int(shape[axis]) for axis in range(len(shape)))


def _tensors(engine: Any, mode: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return type and shape of each input or output of an engine, by name."""
    names = (engine.get_tensor_name(i) for i in range(engine.num_io_tensors))
    return {
        name: (engine.get_tensor_dtype(name).name, lengths(engine.get_tensor_shape(name)))
        for name in names
        if engine.get_tensor_mode(name).name == mode
    }


def _problems(plan: LoadedPlan) -> Iterator[str]:
    """Yield the differences between an engine and its graph, in words."""
    inputs, outputs = _tensors(plan.engine, "INPUT"), _tensors(plan.engine, "OUTPUT")
    yield from differences("input", inputs, plan.signature.inputs)
    yield from differences("output", outputs, plan.signature.outputs)
    for name in (*inputs, *outputs):
        if plan.engine.get_tensor_location(name).name != "DEVICE":
            yield f"{name}: expected a tensor on the GPU, got one on the host"


def _other_profiles(plan: LoadedPlan) -> Iterator[str]:
    """Yield the differences between the engine's profiles and those of the record, in words."""
    engine, profiles = plan.engine, plan.record.key.profiles
    if engine.num_optimization_profiles != len(profiles):
        yield f"expected {len(profiles)} profiles, got {engine.num_optimization_profiles}"
        return
    for index, profile in enumerate(profiles):
        for spec in plan.signature.inputs:
            expected = [
                spec.shape({axis: sizes[which] for axis, sizes in profile.items()})
                for which in range(3)
            ]
            got = [lengths(each) for each in engine.get_tensor_profile_shape(spec.name, index)]
            if got != expected and any(isinstance(axis, str) for axis in spec.axes):
                yield f"{spec.name}, profile {index}: expected {expected}, got {got}"
