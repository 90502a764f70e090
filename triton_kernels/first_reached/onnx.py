"""`first_reached` in ONNX: ONNX Runtime takes the first maximum, other runtimes count.

min(c_i, target) grows up to the first sum that reaches the target, and is the target from there on.
TensorRT does not promise which of equal maxima it takes.
"""

import onnx_ir
from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.first_reached import first_reached
from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    return {first_reached._opoverload: _first_maximum if form == "onnxruntime" else _counted}


def _first_maximum(c: Value, target: Value) -> Value:
    return op.ArgMax(op.Min(c, target), axis=-1, keepdims=0, select_last_index=0)


def _counted(c: Value, target: Value) -> Value:
    below = op.Cast(op.Less(c, target), to=onnx_ir.DataType.INT64)
    return op.ReduceSum(below, ints(-1), keepdims=0)
