"""`quantised_linear` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.dequantise.onnx import matrix
from ancestral.triton_kernels.onnx_nodes import (
    INT,
    Form,
    Translations,
    Value,
    contributed,
    ints,
    number,
)
from ancestral.triton_kernels.quantised_linear import quantised_linear

_MATMUL = contributed(
    "MatMulNBits",
    {"A": "T", "B": "Q", "scales": "T", "zero_points": "Q?"},
    outputs=1,
    K=INT,
    N=INT,
    bits=INT,
    block_size=INT,
    accuracy_level=INT,
)
_FLOATS, _INTEGERS = 0, 4
"""Accuracy levels of MatMulNBits: activations in float32, or rounded to 8 bits."""


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    return {quantised_linear._opoverload: _packed if form == "onnxruntime" else _portable}


def _packed(
    x: Value, codes: Value, scale: Value, zero: Value, width: int, bits: int, rounds: bool
) -> Value:
    """MatMulNBits, which reads the codes as they are stored."""
    sizes = {"K": width, "N": int(codes.shape[0]), "block_size": int(codes.shape[2]) * 8 // bits}
    level = _INTEGERS if rounds else _FLOATS
    points = [] if zero is None else [zero]
    return _MATMUL(x, codes, scale, *points, bits=bits, accuracy_level=level, **sizes)


def _portable(
    x: Value, codes: Value, scale: Value, zero: Value, width: int, bits: int, rounds: bool
) -> Value:
    """A product with the dequantised matrix, after rounding the activations if it is asked for."""
    if rounds:
        x = _rounded(x, width, int(codes.shape[2]) * 8 // bits)
    weight = matrix(codes, scale, zero, width, bits)
    return op.MatMul(x, op.Transpose(weight, perm=[1, 0]))


def _rounded(x: Value, width: int, group: int) -> Value:
    """Round to multiples of m / 127 in each group, m its largest absolute value."""
    axes, missing = len(x.shape), -width % group
    if missing:
        x = op.Pad(x, ints(*[0] * (2 * axes - 1), missing))
    rest = op.Shape(x, end=-1)
    parts = op.Reshape(x, op.Concat(rest, ints(-1, group), axis=0))
    most = op.ReduceMax(op.Abs(parts), ints(-1), keepdims=1)
    steps = op.Where(op.Greater(most, number(0.0)), op.Div(number(127.0), most), number(0.0))
    found = op.Mul(op.Round(op.Mul(parts, steps)), op.Div(most, number(127.0)))
    flat = op.Reshape(found, op.Concat(rest, ints(width + missing), axis=0))
    return flat if not missing else op.Slice(flat, ints(0), ints(width), ints(-1))
