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
from ancestral.export.trace.run import Runtime, Trace, to_array


def onnxruntime(device: str = "cpu", threads: int | None = None) -> Runtime:
    """ONNX Runtime on the CPU or on CUDA, TF32 off.

    Args:
        device: cpu, cuda or cuda:N.
        threads: on the CPU; its own choice where None.

    Raises:
        BackendUnavailable: this runtime has no such device.
    """
    kind, _, index = device.partition(":")
    provider: tuple[str, dict[str, str]] = "CPUExecutionProvider", {}
    if kind == "cuda":
        provider = "CUDAExecutionProvider", {"device_id": index or "0", "use_tf32": "0"}
    if provider[0] not in ort.get_available_providers():
        raise BackendUnavailable(
            f"device {device!r} needs the {provider[0]}, which this onnxruntime has not: "
            f"pip uninstall onnxruntime; pip install 'ancestral[gpu]'"
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

    # GroupQueryAttention has no fp32 kernel on CUDA.
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
    """Every output of a copy of a graph, by its name.

    Raises:
        BundleError: the runtime refuses it, or cannot run it.
    """
    what = "refuses it"
    try:
        content = model.SerializeToString()
        session = ort.InferenceSession(content, options, [provider], enable_fallback=0)
        what = "cannot run it to its end"
        names = [value.name for value in session.get_outputs()]
        fed = {name: _value(array) for name, array in inputs.items()}
        results = session.run_with_ort_values(names, fed)
    except Exception as error:
        raise BundleError(f"{graph.file}: ONNX Runtime {what}: {error}") from error
    return dict(zip(names, map(_array, results), strict=True))


def _value(array: Array) -> Any:
    """An array as ONNX Runtime takes it: NumPy itself has no bfloat16."""
    if array.dtype == ml_dtypes.bfloat16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(
            array.view(np.uint16), onnx.TensorProto.BFLOAT16
        )
    return ort.OrtValue.ortvalue_from_numpy(array)


def _array(value: Any) -> Array:
    if value.data_type() == "tensor(bfloat16)":
        return to_array(from_dlpack(value._ortvalue))
    return np.asarray(value.numpy())
