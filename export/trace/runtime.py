"""The seam: what a trace can be made on. Another runtime needs these members and a line below."""

import re
from collections.abc import Mapping
from typing import Literal, Protocol, get_args, runtime_checkable

from ancestral.bundles.bundle import Bundle
from ancestral.errors import InvalidInput
from ancestral.export.operators import Form
from ancestral.export.trace.graph import Array, Graph

TracedName = Literal["torch", "onnxruntime", "onnx"]
TRACED: tuple[TracedName, ...] = get_args(TracedName)


@runtime_checkable
class Runtime(Protocol):
    """Something that runs a graph and shows what is inside."""

    @property
    def name(self) -> str:
        """As on the command line."""
        ...

    @property
    def version(self) -> str:
        """Of the runtime itself."""
        ...

    @property
    def device(self) -> str:
        """Where it runs."""
        ...

    @property
    def form(self) -> Form:
        """Of the graphs that it runs."""
        ...

    def tensors(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Tensors that the nodes make, by name: all that the runtime can show."""
        ...

    def outputs(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """What the graph gives when nothing is asked for in between."""
        ...


def open_runtime(
    name: str, bundle: Bundle, *, device: str = "cpu", threads: int | None = None
) -> Runtime:
    """The runtime of that name.

    Raises:
        InvalidInput: it cannot be traced, or not on that device.
        BackendUnavailable: it has no such device here.
    """
    if name not in TRACED:
        raise InvalidInput(
            f"backend: expected one of {list(TRACED)} with --trace, got {name!r}: it cannot show "
            f"what is inside a graph"
        )
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise InvalidInput(f"device: expected cpu, cuda or cuda:N, got {device!r}")
    if name != "onnxruntime" and device != "cpu":
        raise InvalidInput(f"device: {name!r} is traced on the cpu alone, got {device!r}")
    match name:
        case "torch":
            from ancestral.export.trace.torch import TorchRuntime

            return TorchRuntime(bundle, threads)
        case "onnx":
            from ancestral.export.trace.onnx_reference import OnnxReference

            return OnnxReference()
        case _:
            from ancestral.export.trace.onnxruntime import OnnxRuntime

            return OnnxRuntime(device, threads)
