"""`quantised_linear` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.dequantise.onnx import SMALLEST_PACKED, matrix
from ancestral.triton_kernels.onnx_nodes import (
    INT,
    Form,
    Translations,
    Value,
    contributed,
    ints,
    number,
)
from ancestral.triton_kernels.quantised_linear import TINY, quantised_linear

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
_INTEGERS = 4
"""The accuracy level of MatMulNBits that rounds activations to 8 bits, in the groups of W."""


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    return {quantised_linear._opoverload: _packed if form == "onnxruntime" else _portable}


def _packed(
    x: Value, codes: Value, scale: Value, zero: Value, width: int, bits: int, rounds: bool
) -> Value:
    """MatMulNBits, which reads the codes as they are stored.

    With float32 activations it has no fast kernel for 8 bits, and none for 4 bits and several rows.
    The kernel that rounds activations is fast, so it multiplies three rows for each row of x: x
    rounded to 8 bits, the rest of that rounded to 8 bits, and what is left. Their sum is x to 24
    bits, and the sum of the products is x W^T to float32's precision (docs/decisions/0033).
    """
    n, groups, stored = (int(size) for size in codes.shape)
    if not rounds and n * width < SMALLEST_PACKED:
        return _portable(x, codes, scale, zero, width, bits, rounds)
    group = stored * 8 // bits
    sizes = {"K": width, "N": n, "block_size": group, "bits": bits}
    points = [] if zero is None else [zero]
    if rounds:
        return _MATMUL(x, codes, scale, *points, accuracy_level=_INTEGERS, **sizes)
    rows = _three_parts(x, width, groups, group)
    products = _MATMUL(rows, codes, scale, *points, accuracy_level=_INTEGERS, **sizes)
    y = op.ReduceSum(op.Reshape(products, ints(3, -1, n)), ints(0), keepdims=0)
    if len(x.shape) == 2:
        return y
    return op.Reshape(y, op.Concat(op.Shape(x, end=-1), ints(n), axis=0))


def _three_parts(x: Value, width: int, groups: int, group: int) -> Value:
    """Return three rows of 8 bits, [3 b, k], whose sum is each row of x: first all of the first."""
    missing = groups * group - width
    rest = op.Reshape(x, ints(-1, width))
    if missing:
        rest = op.Pad(rest, ints(0, 0, 0, missing))
    rest = op.Reshape(rest, ints(-1, groups, group))
    parts = []
    for _ in range(2):
        most = op.Max(op.ReduceMax(op.Abs(rest), ints(-1), keepdims=1), number(TINY))
        step = op.Mul(most, number(1 / 127))
        parts.append(op.Mul(op.Round(op.Div(rest, step)), step))
        rest = op.Sub(rest, parts[-1])
    flat = op.Reshape(op.Concat(*parts, rest, axis=0), ints(-1, groups * group))
    return flat if not missing else op.Slice(flat, ints(0), ints(width), ints(1))


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
    steps = op.Where(op.Greater(most, number(TINY)), op.Div(number(127.0), most), number(0.0))
    found = op.Mul(op.Round(op.Mul(parts, steps)), op.Div(most, number(127.0)))
    flat = op.Reshape(found, op.Concat(rest, ints(width + missing), axis=0))
    return flat if not missing else op.Slice(flat, ints(0), ints(width), ints(-1))
