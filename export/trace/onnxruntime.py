"""ONNX Runtime as a runtime for traces: it runs a copy of the graph with all tensors as outputs.

The copy runs with ONNX Runtime's optimisations off, so that each node of the file runs unchanged
and keeps its names. Then the graph runs again as users run it, with optimisations. If only its
outputs differ, an optimisation is at fault.
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
from ancestral.export.trace.run import Runtime, Trace, to_array


def onnxruntime(device: str = "cpu", threads: int | None = None) -> Runtime:
    """Return ONNX Runtime as a runtime for traces, on the CPU or on CUDA with TF32 off.

    Args:
        device: "cpu", "cuda" or "cuda:N".
        threads: number of CPU threads; None for ONNX Runtime's own choice.

    Raises:
        BackendUnavailable: the installed onnxruntime does not support the device.
    """
    kind, _, index = device.partition(":")
    provider: tuple[str, dict[str, str]] = "CPUExecutionProvider", {}
    if kind == "cuda":
        provider = "CUDAExecutionProvider", {"device_id": index or "0", "use_tf32": "0"}
    if provider[0] not in ort.get_available_providers():
        raise BackendUnavailable(
            f"device {device!r} needs the onnxruntime-gpu package: "
            f"pip uninstall onnxruntime && pip install 'ancestral[gpu]'"
        )

    def trace(graph: Graph, inputs: Mapping[str, Array]) -> Trace:
        model = onnx.ModelProto()
        model.CopyFrom(graph.model)
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in graph.made_by)
        plain, optimised = _options(graph, threads), _options(graph, threads)
        plain.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        tensors = _run(model, graph, inputs, plain, provider)
        return Trace(graph, inputs, tensors, _run(graph.model, graph, inputs, optimised, provider))

    # The onnxruntime form has GroupQueryAttention, for which ONNX Runtime 1.31 has no float32
    # kernel on CUDA: it could not load the graph there.
    form: Form = "onnxruntime" if kind == "cpu" else "portable"
    return Runtime(f"onnxruntime {ort.__version__} {device}", form, trace)


def _options(graph: Graph, threads: int | None) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    folder = "session.model_external_initializers_file_folder_path"
    options.add_session_config_entry(folder, str(graph.file.parent))
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if threads is not None:
        options.intra_op_num_threads = threads
    return options


def _run(
    model: onnx.ModelProto,
    graph: Graph,
    inputs: Mapping[str, Array],
    options: Any,
    provider: tuple[str, dict[str, str]],
) -> dict[str, Array]:
    """Run a model and return its outputs by name.

    Raises:
        BundleError: ONNX Runtime cannot load the model, or cannot run it.
    """
    what = "refuses it"
    try:
        content = model.SerializeToString()
        session = ort.InferenceSession(content, options, [provider], enable_fallback=0)
        what = "cannot run it"
        names = [value.name for value in session.get_outputs()]
        fed = {name: _value(array) for name, array in inputs.items()}
        results = session.run_with_ort_values(names, fed)
    except Exception as error:
        raise BundleError(
            f"{graph.file}: ONNX Runtime {what} ({error}); use another backend, or export the "
            f"model again"
        ) from error
    return dict(zip(names, map(_array, results), strict=True))


def _value(array: Array) -> Any:
    """Return an array as an ONNX Runtime value. NumPy has no bfloat16: it is passed as uint16."""
    if array.dtype == ml_dtypes.bfloat16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(np.uint16), onnx.TensorProto.BFLOAT16
        )
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(value: Any) -> Array:
    if value.data_type() == "tensor(bfloat16)":
        return to_array(from_dlpack(value._ortvalue))
    return np.asarray(value.numpy())
