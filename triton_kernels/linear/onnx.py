"""PyTorch's `linear` in ONNX."""

import torch
from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints


def translations(_: Form) -> Translations:
    """Return the ONNX nodes of PyTorch's operator, the same in every form."""
    return {torch.ops.aten.linear.default: _linear}


def _linear(x: Value, weight: Value, bias: Value = None) -> Value:
    """Gemm of x with its rows in one axis; it reads the weight [d_out, d_in] as stored.

    The exporter's own translation, MatMul with a transposed weight, gets folded into a second
    copy of the weight.
    """
    d_out, d_in = (int(size) for size in weight.shape)
    flat = x if len(x.shape) == 2 else op.Reshape(x, ints(-1, d_in))
    y = op.Gemm(flat, weight, *([] if bias is None else [bias]), transB=1)
    if len(x.shape) == 2:
        return y
    return op.Reshape(y, op.Concat(op.Shape(x, end=-1), ints(d_out), axis=0))
