"""`occurrences` in ONNX: added where the values are, or a product of two one-hot codes.

TensorRT's parser (tensorrt_rtx 1.7.1) refuses ScatterElements with a reduction, and a table of
positions by levels would be large. So a value is written as x = h LOW + l:

    counts[h, l] = sum over i of weights[i] [h_i = h] [l_i = l]

which is a product of matrices [levels / LOW, T] and [T, LOW].
"""

import math

import onnx_ir
from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.occurrences import occurrences
from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, integer, ints, number

LOW = 1_024
"""Number of values of the lower code; small enough for a whole vocabulary of bytes."""


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    return {occurrences._opoverload: _scattered if form == "onnxruntime" else _product}


def _scattered(values: Value, weights: Value, levels: int) -> Value:
    """ScatterElements, which adds at equal indices."""
    size = op.Shape(weights)
    sizes = op.Concat(op.Shape(weights, start=0, end=2), ints(levels), axis=0)
    zeros = op.Expand(number(0.0), sizes)
    at = op.Expand(op.Unsqueeze(values, ints(1)), size)
    return op.ScatterElements(zeros, at, weights, axis=-1, reduction="add")


def _product(values: Value, weights: Value, levels: int) -> Value:
    """The product of the codes."""
    low = min(levels, LOW)
    high = math.ceil(levels / low)
    each = op.Unsqueeze(values, ints(-1))
    if high == 1:
        return op.MatMul(weights, _one_hot(each, low))
    # [b, n, 1, T] and [b, 1, h, T] -> [b, n, h, T]; with [b, 1, T, l] -> [b, n, h, l]
    upper = op.Div(op.Unsqueeze(values, ints(1)), integer(low))
    codes = _one_hot(upper, high, column=True)
    weighed = op.Mul(op.Unsqueeze(weights, ints(2)), op.Unsqueeze(codes, ints(1)))
    lower = op.Unsqueeze(_one_hot(op.Mod(each, integer(low)), low), ints(1))
    counts = op.Reshape(op.MatMul(weighed, lower), ints(0, 0, high * low))
    return op.Slice(counts, ints(0), ints(levels), ints(-1))


def _one_hot(values: Value, size: int, *, column: bool = False) -> Value:
    """1 where a value is 0 .. size - 1, along the last axis or, as a column, the one before."""
    codes = ints(*range(size))
    equal = op.Equal(values, op.Unsqueeze(codes, ints(-1)) if column else codes)
    return op.Cast(equal, to=onnx_ir.DataType.FLOAT)
