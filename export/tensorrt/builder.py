"""Compile one ONNX graph to one TensorRT plan, as a program: some failing builds abort it.

    echo '<request in JSON>' | python -m ancestral.export.tensorrt.builder

The request is a `Request`. The plan and the library's log are written into the current folder.
Progress is printed to standard output, one JSON document per line. If the graph cannot be built,
the exit status is not 0 and the last line of standard error says why.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from pydantic import BaseModel, ConfigDict

from ancestral.errors import AncestralError, ExportError
from ancestral.plans.differences import differences
from ancestral.plans.key import Range
from ancestral.plans.modules import Module, imported
from ancestral.plans.record import LOG, PLAN
from ancestral.signature import GraphSignature, Update

Tell = Callable[[dict[str, Any]], None]
_IN_PLACE = "KV_CACHE_UPDATE"
"""TensorRT's name of the layer that appends to a cache in place."""


class Request(BaseModel):
    """A graph to compile, and how.

    Attributes:
        module: TensorRT module: tensorrt or tensorrt_rtx.
        file: ONNX file; its weights file is in the same folder.
        signature: signature of the graph, which the network has to match.
        profiles: least, best and largest size of each named axis, for each profile.
        targets: GPUs, for example sm_80; empty for the library's default.
        memory: scratch memory of a layer, in bytes; 0 for the library's own limit.
        plugin: 10 times the compute capability of the GPU for which our plugin computes causal
            attention; 0 without the plugin.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    module: Module
    file: Path
    signature: GraphSignature
    profiles: tuple[dict[str, Range], ...]
    targets: tuple[str, ...] = ()
    memory: int = 0
    plugin: int = 0


def compile_plan(trt: Any, request: Request, tell: Tell) -> tuple[str, ...]:
    """Parse a graph, check the network, build the plan and write it.

    Args:
        trt: TensorRT module.
        request: graph to compile, and how.
        tell: called with each step of the build, see `build_process.Progress`.

    Returns:
        Names of the carried caches that the plan appends to in place.

    Raises:
        ExportError: the graph cannot be built, or the network differs from the signature.
    """
    with Path(LOG).open("w", buffering=1) as log:
        logger = _logger(trt, log)
        builder = trt.Builder(logger)
        # With more threads the bytes of the plan would change from build to build.
        builder.max_threads = 1
        network = _parsed(trt, builder, logger, request)
        inputs = _tensors(network.num_inputs, network.get_input)
        outputs = _tensors(network.num_outputs, network.get_output)
        problems = [
            *differences("input", inputs, request.signature.inputs),
            *differences("output", outputs, request.signature.outputs),
        ]
        if problems:
            raise ExportError(
                f"{trt.__name__} has changed the graph ({'; '.join(problems)}); use another "
                f"release of it"
            )
        in_place = _in_place(trt, network, request.signature)
        config = _config(trt, builder, request, tell)
        for profile in request.profiles:
            config.add_optimization_profile(_profile(builder, network, profile))
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise ExportError(
                f"{trt.__name__} has returned no plan; use smaller sizes, or another release of it"
            )
        unused = sorted(set(logger.unused))
        if unused:
            raise ExportError(
                f"{trt.__name__} has ignored inputs ({'; '.join(unused)}); use another release of "
                f"it"
            )
        Path(PLAN).write_bytes(plan)
        return in_place


def _logger(trt: Any, log: TextIO) -> Any:
    """Return a logger that writes to the log, except verbose messages, and errors to stderr too."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.unused: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity == trt.ILogger.VERBOSE:
                return
            log.write(f"{severity.name} {message}\n")
            if "Unused Input:" in message:
                self.unused.append(message)
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                print(message, file=sys.stderr, flush=True)  # noqa: T201 - the parent reads it

    return Logger()


def _parsed(trt: Any, builder: Any, logger: Any, request: Request) -> Any:
    """Parse the graph, with our plugin if requested, into a strongly typed network.

    Raises:
        ExportError: TensorRT's parser refuses the graph.
    """
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser, file = trt.OnnxParser(network, logger), str(request.file)
    if request.plugin:
        from ancestral.export.tensorrt.plugin import register
        from ancestral.export.tensorrt.plugin_form import plugin_form_of

        register(trt, request.plugin)
        taken = parser.parse(plugin_form_of(request.file), file)
    else:
        taken = parser.parse_from_file(file)
    if not taken:
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise ExportError(
            f"{trt.__name__} refuses the graph ({'; '.join(errors)}); use another release of it"
        )
    return network


def _config(trt: Any, builder: Any, request: Request, tell: Tell) -> Any:
    """Return the configuration of a build: TF32 off, limits and GPUs as requested."""
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    if hasattr(trt.BuilderFlag, "REQUIRE_USER_ALLOCATION"):
        # Without this flag a run may allocate memory, which is not possible in a CUDA graph.
        config.set_flag(trt.BuilderFlag.REQUIRE_USER_ALLOCATION)
    if request.memory:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request.memory)
    if request.targets:
        config.num_compute_capabilities = len(request.targets)
        for i, target in enumerate(request.targets):
            capability = trt.ComputeCapability.__members__[f"SM{target.removeprefix('sm_')}"]
            config.set_compute_capability(capability, i)
    if hasattr(config, "progress_monitor"):
        config.progress_monitor = _monitor(trt, tell)
    return config


def _monitor(trt: Any, tell: Tell) -> Any:
    """Return a monitor that reports the builder's steps."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.steps: dict[str, int] = {}

        def phase_start(self, name: str, parent: str | None, count: int) -> None:
            self.steps[name] = count
            tell({"phase": name, "within": parent, "step": 0, "of": count})

        def step_complete(self, name: str, step: int) -> bool:
            tell({"phase": name, "step": step + 1, "of": self.steps.get(name, 0)})
            return True

        def phase_finish(self, name: str) -> None:
            self.steps.pop(name, None)

    return Monitor()


def _profile(builder: Any, network: Any, sizes: dict[str, Range]) -> Any:
    """Return a profile with the sizes of every input. Our graphs have no shape tensors."""
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        if all(size >= 0 for size in tensor.shape):
            continue
        ranges = [
            sizes[tensor.get_dimension_name(axis)] if size < 0 else (size,) * 3
            for axis, size in enumerate(tensor.shape)
        ]
        profile.set_shape(tensor.name, *(tuple(one[k] for one in ranges) for k in range(3)))
    return profile


def _tensors(count: int, get: Callable[[int], Any]) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Return the type and shape of each input or output of a network, by name."""
    tensors = [get(i) for i in range(count)]
    return {tensor.name: (tensor.dtype.name, tuple(tensor.shape)) for tensor in tensors}


def _in_place(trt: Any, network: Any, signature: GraphSignature) -> tuple[str, ...]:
    """Return the names of the caches that the plan appends to in place.

    Small rings are scattered into a copy at every step (`triton_kernels/ring/onnx.py` says why).

    Raises:
        ExportError: a cache [b, h, T, d] is neither appended to in place nor scattered into.
    """
    layers = (network.get_layer(i) for i in range(network.num_layers))
    made = {
        layer.get_output(i).name: layer.type.name
        for layer in layers
        for i in range(layer.num_outputs)
    }
    appended = (pair for pair in signature.carried if pair.update is Update.APPEND)
    caches = [pair for pair in appended if len(signature.input(pair.input).axes) == 4]
    wrong = [pair.input for pair in caches if made[pair.output] not in (_IN_PLACE, "SCATTER")]
    if wrong and _IN_PLACE in trt.LayerType.__members__:
        raise ExportError(
            f"{trt.__name__} copies the caches {wrong} at every step instead of appending; use "
            f"another release of it"
        )
    return tuple(pair.input for pair in caches if made[pair.output] == _IN_PLACE)


def _tell(document: dict[str, Any]) -> None:
    print(json.dumps(document), flush=True)  # noqa: T201 - the parent process reads it


def _main() -> None:
    try:
        request = Request.model_validate_json(sys.stdin.read())
        in_place = compile_plan(imported(request.module), request, _tell)
    except (AncestralError, ImportError, OSError) as error:
        sys.exit(str(error))
    _tell({"in_place": in_place})


if __name__ == "__main__":
    _main()
