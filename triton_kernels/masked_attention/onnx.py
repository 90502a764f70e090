"""PyTorch's attention in ONNX: that of whole events, which `masked_attention` runs elsewhere."""

import torch
from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints


def translations(_: Form) -> Translations:
    """PyTorch's operator, the same in every form."""
    return {torch.ops.aten.scaled_dot_product_attention.default: _causal_attention}


def _causal_attention(  # noqa: PLR0913 - the arguments of the torch operator
    query: Value,
    key: Value,
    value: Value,
    attn_mask: Value | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Value:
    """Attention over equally many queries and keys: up to each query's own, or as a mask has it.

    Raises:
        ValueError: another attention than a model's parallel form asks for.
    """
    if (attn_mask is None) != is_causal or dropout_p or scale is not None:
        raise ValueError(
            "scaled_dot_product_attention is exported with is_causal=True or with a mask of two "
            "axes, without dropout and without a scale: multiply q by it before"
        )
    if attn_mask is None:
        y, *_ = op.Attention(query, key, value, is_causal=1)
    else:
        y, *_ = op.Attention(query, key, value, op.Unsqueeze(attn_mask, ints(0, 1)))
    return y
