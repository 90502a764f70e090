"""A simulated TensorRT on host memory: the objects of the library that the run path uses.

A plan is JSON that names an ONNX file, which ONNX Runtime runs. Tensors are read and written at raw
addresses, in the worst order: results are overwritten before any input is read, except for caches
that are appended to in place, which have to share memory. What the library refuses is refused here
too, with the reason in the logger. A test compares every name here with the real module.
"""

import contextlib
import enum
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime as ort

from ancestral.plans.modules import DTYPES, Module
from ancestral.signature import GraphSignature
from tests.engine.simulated_lane import ALIGNMENT, POISON, Stream, memory_at

SCRATCH = 4096
_INDEX_ERRORS = (
    ort.capi.onnxruntime_pybind11_state.Fail,
    ort.capi.onnxruntime_pybind11_state.InvalidArgument,
    ort.capi.onnxruntime_pybind11_state.RuntimeException,
)
_TYPES = {dtype: name for name, dtype in DTYPES.items()}


DataType = enum.Enum("DataType", "FLOAT HALF BF16 INT64")
TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")
TensorLocation = enum.Enum("TensorLocation", "DEVICE HOST")
EngineValidity = enum.Enum("EngineValidity", "VALID SUBOPTIMAL INVALID")
CudaGraphStrategy = enum.Enum("CudaGraphStrategy", "DISABLED WHOLE_GRAPH_CAPTURE")
DynamicShapesKernelSpecializationStrategy = enum.Enum(
    "DynamicShapesKernelSpecializationStrategy", "LAZY EAGER NONE"
)
ExecutionContextAllocationStrategy = enum.Enum(
    "ExecutionContextAllocationStrategy", "STATIC ON_PROFILE_CHANGE USER_MANAGED"
)
ComputeCapability = enum.Enum("ComputeCapability", "NONE CURRENT SM75 SM80 SM86 SM89")
Severity = enum.Enum("Severity", "INTERNAL_ERROR ERROR WARNING INFO VERBOSE")


class ILogger:
    def log(self, severity: Severity, message: str) -> None:
        raise NotImplementedError


class Dims:
    """Lengths of axes; like the real class, not an Iterable for a type checker."""

    def __init__(self, shape: Sequence[int]) -> None:
        self._shape = tuple(shape)

    def __len__(self) -> int:
        return len(self._shape)

    def __getitem__(self, index: int) -> int:
        return self._shape[index]


class IRuntimeCache:
    pass


class IRuntimeConfig:
    def __init__(self) -> None:
        self._strategy = ExecutionContextAllocationStrategy.STATIC

    def set_execution_context_allocation_strategy(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> None:
        self._strategy = strategy


class JustInTimeConfig(IRuntimeConfig):
    """`IRuntimeConfig` of `tensorrt_rtx`."""

    cuda_graph_strategy = CudaGraphStrategy.DISABLED
    dynamic_shapes_kernel_specialization_strategy = DynamicShapesKernelSpecializationStrategy.LAZY

    def create_runtime_cache(self) -> IRuntimeCache:
        return IRuntimeCache()

    def set_runtime_cache(self, cache: IRuntimeCache) -> bool:
        return isinstance(cache, IRuntimeCache)


class ICudaEngine:
    """The description of a plan, and its computation."""

    device_memory_size_v2 = SCRATCH
    num_io_tensors = num_optimization_profiles = 0

    def __init__(self, plan: Mapping[str, Any], logger: ILogger, stream: Stream) -> None:
        self._signature = GraphSignature.model_validate(plan["signature"])
        self._profiles = plan["profiles"]
        self._in_place = {
            pair.output: pair.input
            for pair in self._signature.carried
            if pair.input in plan["in_place"]
        }
        self._logger, self._stream = logger, stream
        self._onnx = session(plan["onnx"])
        self._specs = {s.name: s for s in (*self._signature.inputs, *self._signature.outputs)}
        self.num_io_tensors = len(self._specs)
        self.num_optimization_profiles = len(self._profiles)

    def get_tensor_name(self, index: int) -> str:
        return list(self._specs)[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        given = name in {spec.name for spec in self._signature.inputs}
        return TensorIOMode.INPUT if given else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[_TYPES[self._specs[name].dtype]]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims([-1 if isinstance(a, str) else a for a in self._specs[name].axes])

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.DEVICE

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        profile = self._profiles[profile_index]
        return [
            Dims(self._specs[name].shape({axis: sizes[i] for axis, sizes in profile.items()}))
            for i in range(3)
        ]

    def get_aliased_input_tensor(self, name: str) -> str | None:
        return self._in_place.get(name)

    def get_engine_stat(self) -> int:
        return 1000

    def create_runtime_config(self) -> IRuntimeConfig:
        return JustInTimeConfig() if self._stream.just_in_time else IRuntimeConfig()

    def create_execution_context(self, runtime_config: IRuntimeConfig) -> "IExecutionContext":
        kind = JustInTimeContext if self._stream.just_in_time else IExecutionContext
        return kind(self, runtime_config)

    def _compute(
        self, shapes: Mapping[str, tuple[int, ...]], at: Mapping[str, int], scratch: int
    ) -> None:
        """Read, compute and write; results are overwritten before anything is read."""
        places = {
            name: memory_at(at[name], shapes[name], spec.dtype)
            for name, spec in self._specs.items()
        }
        memory_at(scratch, (SCRATCH,), "uint8")[...] = POISON
        for spec in self._signature.outputs:
            if spec.name not in self._in_place:
                places[spec.name].view(np.uint8)[...] = POISON
        given = {spec.name: places[spec.name].copy() for spec in self._signature.inputs}
        names = [spec.name for spec in self._signature.outputs]
        # An overwritten input may be an invalid index; the library would read elsewhere and go on.
        with contextlib.suppress(*_INDEX_ERRORS):
            for name, array in zip(names, self._onnx.run(names, given), strict=True):
                places[name][...] = array


class IExecutionContext:
    def __init__(self, engine: ICudaEngine, config: IRuntimeConfig) -> None:
        self._engine, self._config = engine, config
        self._profile: int | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._at: dict[str, int] = {}
        self._scratch = 0
        self._warm = False

    def set_device_memory(self, memory: int, size: int) -> None:
        if size < SCRATCH or memory % ALIGNMENT:
            self._refuse(f"scratch memory: {size} bytes at {memory}")
        else:
            self._scratch = memory

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        if stream_handle != self._engine._stream.handle:
            return self._refuse("the profile is switched on another stream")
        self._profile, self._shapes, self._warm = profile_index, {}, False
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        if self._profile is None:
            return self._refuse("no profile was chosen")
        least, _, most = self._engine.get_tensor_profile_shape(name, self._profile)
        limits = zip(least._shape, shape, most._shape, strict=True)
        if not all(low <= size <= high for low, size, high in limits):
            return self._refuse(f"{name}: {shape} is outside of profile {self._profile}")
        self._warm = self._warm and self._shapes.get(name) == shape
        self._shapes[name] = shape
        return True

    def infer_shapes(self) -> list[str]:
        return [s.name for s in self._engine._signature.inputs if s.name not in self._shapes]

    def get_tensor_shape(self, name: str) -> Dims:
        return Dims(self._all_shapes()[name])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        if name not in self._engine._specs or memory % ALIGNMENT or not memory:
            return self._refuse(f"{name}: address {memory} is 0 or not aligned")
        self._at[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine, stream = self._engine, self._engine._stream
        if stream_handle != stream.handle:
            return self._refuse("another stream")
        missing = [name for name in engine._specs if name not in self._at]
        if missing or self.infer_shapes() or not self._scratch:
            return self._refuse(f"no address of {missing}, no shape of {self.infer_shapes()}")
        for output, given in engine._in_place.items():
            if self._at[output] != self._at[given]:
                return self._refuse(f"{output} has to be where {given} is")
        call = functools.partial(engine._compute, self._all_shapes(), dict(self._at), self._scratch)
        if stream.recorded is None:
            call()
            self._warm = True
            return True
        if not self._capturable:
            return self._refuse("a capture before the first run")
        stream.recorded.append(call)
        return True

    @property
    def _capturable(self) -> bool:
        own = self._config._strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        return self._warm and own and not self._changes

    @property
    def _changes(self) -> bool:
        """Whether kernels are replaced during runs."""
        lazy = DynamicShapesKernelSpecializationStrategy.LAZY
        config = self._config
        return (
            isinstance(config, JustInTimeConfig)
            and config.dynamic_shapes_kernel_specialization_strategy is lazy
        )

    def _all_shapes(self) -> dict[str, tuple[int, ...]]:
        signature = self._engine._signature
        sizes = {
            axis: size
            for spec in signature.inputs
            for axis, size in zip(spec.axes, self._shapes[spec.name], strict=True)
            if isinstance(axis, str)
        }
        return {spec.name: spec.shape(sizes) for spec in self._engine._specs.values()}

    def _refuse(self, why: str) -> bool:
        self._engine._logger.log(Severity.ERROR, why)
        return False


class JustInTimeContext(IExecutionContext):
    """`IExecutionContext` of `tensorrt_rtx`."""

    def is_stream_capturable(self, stream: int) -> bool:
        return self._capturable and stream == self._engine._stream.handle


class Runtime:
    def __init__(self, logger: ILogger, stream: Stream) -> None:
        self._logger, self._stream = logger, stream

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        try:
            return ICudaEngine(json.loads(serialized_engine), self._logger, self._stream)
        except (ValueError, KeyError) as error:
            self._logger.log(Severity.ERROR, f"not a plan: {error}")
            return None


class JustInTimeRuntime(Runtime):
    """`Runtime` of `tensorrt_rtx`."""

    def get_engine_validity(self, buffer: bytes) -> tuple[EngineValidity, int]:
        return (EngineValidity.VALID if buffer[:1] == b"{" else EngineValidity.INVALID), 0


class TensorRt:
    """The module `tensorrt`."""

    __version__ = "0.0.0.0"
    ILogger = ILogger
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy

    def __init__(self, stream: Stream) -> None:
        stream.just_in_time = False
        self.Runtime = functools.partial(Runtime, stream=stream)


class TensorRtRtx(TensorRt):
    """The module `tensorrt_rtx`."""

    CudaGraphStrategy = CudaGraphStrategy
    DynamicShapesKernelSpecializationStrategy = DynamicShapesKernelSpecializationStrategy
    ComputeCapability = ComputeCapability

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        stream.just_in_time = True
        self.Runtime = functools.partial(JustInTimeRuntime, stream=stream)


SIMULATED: Mapping[Module, type[TensorRt]] = {"tensorrt": TensorRt, "tensorrt_rtx": TensorRtRtx}
COMMON: Mapping[str, type] = {
    each.__name__: each
    for each in (
        *(Runtime, ICudaEngine, IExecutionContext, IRuntimeConfig, ILogger, Dims, DataType),
        *(TensorIOMode, TensorLocation, ExecutionContextAllocationStrategy),
    )
}
"""Simulated classes of both modules, by the name of the real class."""
JUST_IN_TIME: Mapping[str, type] = {
    "Runtime": JustInTimeRuntime,
    "IExecutionContext": JustInTimeContext,
    "IRuntimeConfig": JustInTimeConfig,
    "IRuntimeCache": IRuntimeCache,
    "EngineValidity": EngineValidity,
    "CudaGraphStrategy": CudaGraphStrategy,
    "DynamicShapesKernelSpecializationStrategy": DynamicShapesKernelSpecializationStrategy,
    "ComputeCapability": ComputeCapability,
}
"""Simulated classes of `tensorrt_rtx` only."""


@functools.cache
def session(file: str) -> ort.InferenceSession:
    """Return the ONNX Runtime session that computes a graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
