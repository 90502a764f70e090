"""`dequantise` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.dequantise import dequantise
from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints


def translations(_: Form) -> Translations:
    """Return the ONNX nodes of the operator, the same in every form."""
    return {dequantise._opoverload: matrix}


def matrix(codes: Value, scale: Value, zero: Value, width: int, bits: int) -> Value:
    """DequantizeLinear over groups; codes of 4 bits are first taken apart.

    The nodes depend on constants only, so a runtime may compute them once, when it loads the
    graph; the matrix is then in memory in float32.
    """
    n, groups, stored = (int(size) for size in codes.shape)
    size = stored * 8 // bits
    values = apart(codes, (n, groups, size)) if bits == 4 else codes
    scales = op.Reshape(scale, ints(n, groups, 1))
    if zero is None:
        middle = op.Cast(op.Constant(value_int=2 ** (bits - 1)), to=_UINT8)
        points = op.Expand(middle, ints(n, groups, 1))
    else:
        each = apart(zero, (n, int(zero.shape[1]) * 2)) if bits == 4 else zero
        each = op.Slice(each, ints(0), ints(groups), ints(1))
        points = op.Reshape(each, ints(n, groups, 1))
    whole = op.DequantizeLinear(values, scales, points, axis=2, block_size=size)
    flat = op.Reshape(whole, ints(n, groups * size))
    return flat if groups * size == width else op.Slice(flat, ints(0), ints(width), ints(1))


def apart(stored: Value, shape: tuple[int, ...]) -> Value:
    """Take the two codes of each byte apart: the low half comes first."""
    low = op.BitwiseAnd(stored, op.Cast(op.Constant(value_int=15), to=_UINT8))
    high = op.BitShift(stored, op.Cast(op.Constant(value_int=4), to=_UINT8), direction="RIGHT")
    both = op.Concat(op.Unsqueeze(low, ints(-1)), op.Unsqueeze(high, ints(-1)), axis=-1)
    return op.Reshape(both, ints(*shape))


_UINT8 = 2
"""ONNX's number of the type."""
