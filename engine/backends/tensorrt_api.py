"""What the run path uses of TensorRT, as both modules have it: `tensorrt` and `tensorrt_rtx`.

A test holds these protocols against the modules' own types. What one of them lacks is a protocol of
its own, and asked for with isinstance: a capability is found, never derived from a version.
"""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Named(Protocol):
    """A member of one of the library's enumerations."""

    @property
    def name(self) -> str:
        """FLOAT, say."""
        ...


@runtime_checkable
class Dims(Protocol):
    """Lengths of axes; the modules' own type is no Iterable."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> int: ...


@runtime_checkable
class RuntimeConfig(Protocol):
    """How contexts of an engine are made."""

    def set_execution_context_allocation_strategy(self, strategy: Any, /) -> None:
        """Who gives them their scratch memory."""
        ...


@runtime_checkable
class ExecutionContext(Protocol):
    """One way through an engine: shapes, addresses, scratch memory."""

    def set_device_memory(self, memory: int, size: int, /) -> None:
        """Give it its scratch memory: an address that is a multiple of 256, and bytes."""
        ...

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int, /) -> bool:
        """Choose the profile; shapes are unset then."""
        ...

    def set_input_shape(self, name: str, shape: tuple[int, ...], /) -> bool:
        """Set the shape of an input."""
        ...

    def infer_shapes(self) -> list[str]:
        """Names of what is not yet sufficiently specified."""
        ...

    def get_tensor_shape(self, name: str, /) -> Dims:
        """Of an input or, once all inputs have theirs, an output."""
        ...

    def set_tensor_address(self, name: str, memory: int, /) -> bool:
        """Where an input is read or an output written: a multiple of 256."""
        ...

    def execute_async_v3(self, stream_handle: int, /) -> bool:
        """Enqueue one run."""
        ...


@runtime_checkable
class Engine(Protocol):
    """A plan that was loaded."""

    @property
    def num_io_tensors(self) -> int:
        """Inputs and outputs."""
        ...

    @property
    def num_optimization_profiles(self) -> int:
        """At least 1."""
        ...

    @property
    def device_memory_size_v2(self) -> int:
        """Bytes of scratch memory that a context needs, whatever its profile."""
        ...

    def get_tensor_name(self, index: int, /) -> str:
        """Of an input or output."""
        ...

    def get_tensor_mode(self, name: str, /) -> Named:
        """INPUT or OUTPUT."""
        ...

    def get_tensor_dtype(self, name: str, /) -> Named:
        """FLOAT, HALF, BF16, INT64, ..."""
        ...

    def get_tensor_shape(self, name: str, /) -> Dims:
        """With -1 where it is chosen at run time."""
        ...

    def get_tensor_location(self, name: str, /) -> Named:
        """DEVICE, or HOST for what the library reads on the host."""
        ...

    def get_tensor_profile_shape(self, name: str, profile_index: int, /) -> Sequence[Dims]:
        """Least, best and largest shape of an input."""
        ...

    def create_runtime_config(self) -> RuntimeConfig:
        """With the library's own settings."""
        ...

    def create_execution_context(self, runtime_config: Any, /) -> ExecutionContext:
        """A context; None where it cannot be made."""
        ...


@runtime_checkable
class Runtime(Protocol):
    """What loads plans."""

    def deserialize_cuda_engine(self, serialized_engine: bytes, /) -> Engine:
        """The engine; None where the plan cannot be loaded."""
        ...


@runtime_checkable
class MakesRuntime(Protocol):
    """The class of runtimes."""

    def __call__(self, logger: Any, /) -> Runtime:
        """A runtime that tells a logger."""
        ...


@runtime_checkable
class AllocationStrategies(Protocol):
    """Who gives a context its scratch memory."""

    @property
    def USER_MANAGED(self) -> Any:  # noqa: N802 - the library's name
        """Whoever makes the context."""
        ...


@runtime_checkable
class TensorRt(Protocol):
    """The module."""

    def __hash__(self) -> int: ...

    @property
    def __version__(self) -> str:
        """In full."""
        ...

    @property
    def ILogger(self) -> Any:  # noqa: N802 - the library's name
        """To be derived from."""
        ...

    @property
    def Runtime(self) -> MakesRuntime:  # noqa: N802 - the library's name
        """The class of runtimes."""
        ...

    @property
    def ExecutionContextAllocationStrategy(self) -> AllocationStrategies:  # noqa: N802 - as above
        """An enumeration."""
        ...


@runtime_checkable
class GraphStrategies(Protocol):
    """Whether the library captures CUDA graphs by itself."""

    @property
    def DISABLED(self) -> Any:  # noqa: N802 - the library's name
        """It does not."""
        ...


@runtime_checkable
class SpecializationStrategies(Protocol):
    """Kernels for the very shapes that are run."""

    @property
    def EAGER(self) -> Any:  # noqa: N802 - the library's name
        """Compiled when a shape is first run."""
        ...

    @property
    def NONE(self) -> Any:  # noqa: N802 - the library's name
        """Never: one kernel serves all shapes."""
        ...


@runtime_checkable
class JustInTime(Protocol):
    """A module that compiles kernels on the GPU that runs them."""

    @property
    def CudaGraphStrategy(self) -> GraphStrategies:  # noqa: N802 - the library's name
        """An enumeration."""
        ...

    @property
    def DynamicShapesKernelSpecializationStrategy(  # noqa: N802 - the library's name
        self,
    ) -> SpecializationStrategies:
        """An enumeration."""
        ...


@runtime_checkable
class JustInTimeConfig(Protocol):
    """How its contexts are made."""

    cuda_graph_strategy: Any
    dynamic_shapes_kernel_specialization_strategy: Any

    def create_runtime_cache(self) -> Any:
        """For compiled kernels, empty."""
        ...

    def set_runtime_cache(self, cache: Any, /) -> bool:
        """Keep compiled kernels there."""
        ...


@runtime_checkable
class TellsValidity(Protocol):
    """A runtime that says what is wrong with a plan."""

    def get_engine_validity(self, buffer: bytes, /) -> tuple[Any, ...]:
        """A member of VALID, SUBOPTIMAL and INVALID, and diagnostics."""
        ...


@runtime_checkable
class TellsAliases(Protocol):
    """An engine that appends to caches in place."""

    def get_aliased_input_tensor(self, name: str, /) -> str | None:
        """The input whose memory an output must have; None where it has its own."""
        ...


@runtime_checkable
class TellsWeights(Protocol):
    """An engine that says how large it is."""

    def get_engine_stat(self) -> int:
        """Bytes of its weights."""
        ...


@runtime_checkable
class TellsCapture(Protocol):
    """A context that says whether it can be captured."""

    def is_stream_capturable(self, stream: int, /) -> bool:
        """Whether a run on that stream, now, can be."""
        ...
