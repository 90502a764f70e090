"""ONNX Runtime as a source of a trace: a copy of the graph whose every tensor is an output.

Every tensor is asked for with ONNX Runtime's optimisations off: then each node of the file runs as
it is and no name is lost. The outputs are asked for once more of the graph as users run it,
optimised: what differs there and nowhere in between comes from an optimisation.
"""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import onnxruntime as ort
from torch.utils.dlpack import from_dlpack

from ancestral.errors import BackendUnavailable, BundleError
from ancestral.export.operators import Form
from ancestral.export.trace.graph import Array, Graph
from ancestral.export.trace.run import to_array


class OnnxRuntime:
    """ONNX Runtime on the CPU or on CUDA, TF32 off."""

    name, version = "onnxruntime", str(ort.__version__)

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
        wanted, options = "CPUExecutionProvider", {}
        if kind == "cuda":
            wanted, options = "CUDAExecutionProvider", {"device_id": index or "0", "use_tf32": "0"}
        if wanted not in ort.get_available_providers():
            raise BackendUnavailable(
                f"device {device!r} needs the {wanted}, which this onnxruntime has not: "
                f"pip uninstall onnxruntime; pip install 'ancestral[gpu]'"
            )
        self._provider = wanted, options

    def tensors(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        model = onnx.ModelProto()
        model.CopyFrom(graph.model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in graph.made_by)
        return self._run(model, graph, inputs, ort.GraphOptimizationLevel.ORT_DISABLE_ALL)

    def outputs(self, graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._run(graph.model, graph, inputs, ort.GraphOptimizationLevel.ORT_ENABLE_ALL)

    def _run(
        self, model: onnx.ModelProto, graph: Graph, inputs: Mapping[str, Array], level: Any
    ) -> dict[str, Array]:
        """Every output of a copy of a graph, by its name.

        Raises:
            BundleError: the runtime refuses it, or cannot run it.
        """
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = level
        folder = "session.model_external_initializers_file_folder_path"
        options.add_session_config_entry(folder, str(graph.file.parent))
        options.add_session_config_entry("session.force_spinning_stop", "1")
        if self._threads is not None:
            options.intra_op_num_threads = self._threads
        try:
            session = ort.InferenceSession(
                model.SerializeToString(), options, [self._provider], enable_fallback=0
            )
        except Exception as error:
            raise BundleError(f"{graph.file}: ONNX Runtime refuses it: {error}") from error
        names = [value.name for value in session.get_outputs()]
        try:
            fed = {name: _value(array) for name, array in inputs.items()}
            results = session.run_with_ort_values(names, fed)
        except Exception as error:
            raise BundleError(
                f"{graph.file}: ONNX Runtime cannot run it to its end: {error}"
            ) from error
        return dict(zip(names, map(_array, results), strict=True))


def _value(array: Array) -> Any:
    """An array as ONNX Runtime takes it: NumPy alone has no bfloat16."""
    if array.dtype == ml_dtypes.bfloat16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(np.uint16), onnx.TensorProto.BFLOAT16
        )
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(value: Any) -> Array:
    if value.data_type() == "tensor(bfloat16)":
        return to_array(from_dlpack(value._ortvalue))
    return np.asarray(value.numpy())
