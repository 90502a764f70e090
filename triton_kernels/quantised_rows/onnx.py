"""`quantised_rows` in ONNX."""

from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.dequantise.onnx import matrix
from ancestral.triton_kernels.onnx_nodes import INT, Form, Translations, Value, contributed, ints
from ancestral.triton_kernels.quantised_rows import quantised_rows

_GATHER = contributed(
    "GatherBlockQuantized",
    {"data": "Q", "indices": "I", "scales": "T", "zero_points": "Q?"},
    outputs=1,
    bits=INT,
    block_size=INT,
    gather_axis=INT,
    quantize_axis=INT,
)


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form."""
    return {quantised_rows._opoverload: _packed if form == "onnxruntime" else _portable}


def _packed(ids: Value, codes: Value, scale: Value, zero: Value, width: int, bits: int) -> Value:
    """GatherBlockQuantized over [n, G, B], which dequantises the rows that it takes."""
    n, groups, stored = (int(size) for size in codes.shape)
    if zero is not None:
        # The zero points of a row are packed together, in another layout than this operator's.
        return _portable(ids, codes, scale, zero, width, bits)
    size = stored * 8 // bits
    found = _GATHER(
        codes, ids, op.Reshape(scale, ints(n, groups, 1)),
        bits=bits, block_size=size, gather_axis=0, quantize_axis=2,
    )  # fmt: skip
    flat = op.Reshape(found, op.Concat(op.Shape(ids), ints(groups * size), axis=0))
    return flat if groups * size == width else op.Slice(flat, ints(0), ints(width), ints(-1))


def _portable(ids: Value, codes: Value, scale: Value, zero: Value, width: int, bits: int) -> Value:
    return op.Gather(matrix(codes, scale, zero, width, bits), ids, axis=0)
