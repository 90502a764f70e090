"""ONNX Runtime as a source of a trace: a copy of the graph whose every tensor is an output.

Every tensor is asked for with ONNX Runtime's optimisations off: then each node of the file runs as
it stands and no name is lost. The outputs are asked for once more of the graph as users run it,
optimised: what differs there and nowhere in between comes from an optimisation.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort

from ancestral.errors import BackendUnavailable, BundleError
from ancestral.export.operators import Form
from ancestral.export.trace.graph import Array, Graph

_WIDENED = ".float32"
"""Suffix of the float32 copy of a tensor that NumPy has no type for."""


class OnnxRuntime:
    """ONNX Runtime on the CPU or on CUDA, TF32 off."""

    name = "onnxruntime"

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        """Check that this runtime has the device.

        Args:
            device: cpu, cuda or cuda:N.
            threads: on the CPU; its own choice where None.

        Raises:
            BackendUnavailable: it has not.
        """
        kind, _, index = device.partition(":")
        self.device = device
        self._threads = threads
        # GroupQueryAttention has no fp32 kernel on CUDA.
        self.form: Form = "onnxruntime" if kind == "cpu" else "portable"
        self._provider: Any = "CPUExecutionProvider"
        if kind == "cuda":
            self._provider = "CUDAExecutionProvider", {"device_id": index or "0", "use_tf32": "0"}
        wanted = self._provider if kind == "cpu" else self._provider[0]
        if wanted not in ort.get_available_providers():
            raise BackendUnavailable(
                f"device {device!r} needs the {wanted}, which this onnxruntime has not: "
                f"pip uninstall onnxruntime; pip install 'ancestral[gpu]'"
            )

    @property
    def version(self) -> str:
        return str(ort.__version__)

    def tensors(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        model = _copy(graph.model)
        named = {value.name for value in model.graph.output}
        names = [name for node in model.graph.node for name in node.output if name]
        model.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in names if name not in named
        )
        return self._run(model, graph.file, inputs, optimised=False)

    def outputs(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._run(_copy(graph.model), graph.file, inputs, optimised=True)

    def _run(
        self, model: onnx.ModelProto, file: Path, inputs: Mapping[str, Array], *, optimised: bool
    ) -> dict[str, Array]:
        """Every output, by its name."""
        given = {name for name, array in inputs.items() if array.dtype == ml_dtypes.bfloat16}
        _narrow(model.graph, given)
        fed = {name + _WIDENED * (name in given): _wide(array) for name, array in inputs.items()}
        session = self._session(model, file, optimised=optimised)
        wide = {out.name for out in session.get_outputs() if out.type == "tensor(bfloat16)"}
        if wide:
            _widen(model.graph, wide)
            session = self._session(model, file, optimised=optimised)
        names = [value.name for value in session.get_outputs()]
        try:
            results = session.run(names, fed)
        except Exception as error:
            raise BundleError(f"{file}: ONNX Runtime cannot run it to its end: {error}") from error
        arrays = dict(zip(names, map(np.asarray, results), strict=True))
        for name in wide:
            arrays[name] = arrays.pop(name + _WIDENED).astype(ml_dtypes.bfloat16)
        return arrays

    def _session(self, model: onnx.ModelProto, file: Path, *, optimised: bool) -> Any:
        options = ort.SessionOptions()
        options.log_severity_level = 4
        folder = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(folder, str(file.parent))
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        if not optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            return ort.InferenceSession(
                model.SerializeToString(), options, [self._provider], enable_fallback=0
            )
        except Exception as error:
            raise BundleError(f"{file}: ONNX Runtime refuses it: {error}") from error


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def _narrow(graph: onnx.GraphProto, names: set[str]) -> None:
    """Take some bfloat16 inputs in float32, and cast them: NumPy cannot hand them over."""
    for value in graph.input:
        if value.name in names:
            given = value.name + _WIDENED
            node = onnx.helper.make_node(
                "Cast", [given], [value.name], to=onnx.TensorProto.BFLOAT16
            )
            graph.node.insert(0, node)
            value.name = given
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT


def _widen(graph: onnx.GraphProto, names: set[str]) -> None:
    """Give float32 copies of some outputs in their place."""
    for value in graph.output:
        if value.name in names:
            copy = value.name + _WIDENED
            graph.node.append(
                onnx.helper.make_node("Cast", [value.name], [copy], to=onnx.TensorProto.FLOAT)
            )
            value.CopyFrom(onnx.ValueInfoProto(name=copy))


def _wide(array: Array) -> Array:
    return array.astype(np.float32) if array.dtype == ml_dtypes.bfloat16 else array
