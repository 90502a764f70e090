"""ONNX to a TensorRT plan: what a graph in its tensorrt form must survive.

Some failing builds abort the process, so a build runs in one of its own:

    build(Path("bundle/graphs/step.tensorrt.onnx"), {"b": (1, 4, 16), "s": (1, 1, 8)}) -> plan
"""

import importlib.util
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ancestral.errors import BackendUnavailable, ExportError

MODULES = ("tensorrt", "tensorrt_rtx")
Range = tuple[int, int, int]
"""Least, best and largest size of an axis."""


def build(file: Path, sizes: Mapping[str, Range]) -> bytes:
    """Compile a graph with whichever TensorRT is installed.

    TF32 is off, types are those of the graph, and an input that the parser drops fails the build.

    Args:
        file: the graph, with its weights beside it.
        sizes: of each named axis.

    Raises:
        BackendUnavailable: neither tensorrt nor tensorrt_rtx is installed.
        ExportError: the graph cannot be built; the message holds the end of TensorRT's log.
    """
    module = installed()
    with tempfile.TemporaryDirectory(prefix="ancestral-") as folder:
        plan = Path(folder) / "plan"
        axes = [f"{axis}={':'.join(map(str, values))}" for axis, values in sizes.items()]
        command = [sys.executable, "-m", "ancestral.export.tensorrt", module, str(file), str(plan)]
        done = subprocess.run([*command, *axes], capture_output=True, text=True, check=False)
        if done.returncode != 0 or not plan.is_file():
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-20:])
            raise ExportError(f"{file}: {module} built no plan (exit {done.returncode}):\n{tail}")
        return plan.read_bytes()


def installed() -> str:
    """The TensorRT module that is installed.

    Raises:
        BackendUnavailable: there is none.
    """
    for module in MODULES:
        if importlib.util.find_spec(module) is not None:
            return module
    raise BackendUnavailable(
        "compiling needs TensorRT: pip install 'ancestral[tensorrt]' for a data-center GPU, "
        "or pip install tensorrt-rtx-cu13 for a GeForce or RTX one"
    )


def _compile(trt: Any, file: Path, sizes: Mapping[str, Range]) -> bytes:
    """Parse, set profiles, build; runs in a process of its own."""
    lines: list[str] = []

    class Log(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            lines.append(message)
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                print(message, file=sys.stderr)  # noqa: T201 - the parent process reads it

    builder = trt.Builder(Log())
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, builder.logger)
    if not parser.parse_from_file(str(file)):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        raise ExportError(f"the parser refuses the graph: {errors}")
    config = builder.create_builder_config()
    if hasattr(trt.BuilderFlag, "TF32"):
        config.clear_flag(trt.BuilderFlag.TF32)
    config.add_optimization_profile(_profile(builder, network, sizes))
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise ExportError("the builder returned no plan")
    dropped = [line for line in lines if "Unused Input:" in line]
    if dropped:
        raise ExportError(f"the parser dropped inputs: {dropped}")
    return bytes(plan)


def _profile(builder: Any, network: Any, sizes: Mapping[str, Range]) -> Any:
    profile = builder.create_optimization_profile()
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        dims = [
            sizes[tensor.get_dimension_name(axis)] if size < 0 else (size,) * 3
            for axis, size in enumerate(tensor.shape)
        ]
        if any(size < 0 for size in tensor.shape):
            least, best, most = (tuple(dim[k] for dim in dims) for k in range(3))
            profile.set_shape(tensor.name, least, best, most)
    return profile


def _main(arguments: list[str]) -> None:
    module, file, out, *axes = arguments
    sizes: dict[str, Range] = {}
    for axis in axes:
        name, _, values = axis.partition("=")
        least, best, most = (int(value) for value in values.split(":"))
        sizes[name] = (least, best, most)
    Path(out).write_bytes(_compile(importlib.import_module(module), Path(file), sizes))


if __name__ == "__main__":
    _main(sys.argv[1:])
