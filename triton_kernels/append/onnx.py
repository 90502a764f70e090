"""`append` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, positions


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    return {append._opoverload: _in_place if form == "onnxruntime" else _scattered}


def _in_place(buffer: Value, position: Value, block: Value) -> Value:
    """TensorScatter, which ONNX Runtime runs in place if input and output share their memory."""
    return op.TensorScatter(buffer, block, position, axis=1)


def _scattered(buffer: Value, position: Value, block: Value) -> Value:
    """ScatterElements at position .. position + s - 1; TensorRT's TensorScatter is 4-D only."""
    return op.ScatterElements(buffer, positions(position, block), block, axis=1)
