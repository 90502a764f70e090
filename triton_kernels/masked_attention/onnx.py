"""PyTorch's attention over whole events in ONNX; elsewhere `masked_attention` runs it."""

import torch
from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.onnx_nodes import Form, Translations, Value, ints


def translations(_: Form) -> Translations:
    """Return the ONNX nodes of PyTorch's operator, the same in every form."""
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
    """Attention over as many queries as keys: causal, or with a mask.

    Raises:
        ValueError: the arguments are not those of a model's parallel form.
    """
    if (attn_mask is None) != is_causal or dropout_p or scale is not None:
        raise ValueError(
            "scaled_dot_product_attention: expected either is_causal=True or a 2-D mask, without "
            "dropout or scale; multiply q by the scale instead"
        )
    if attn_mask is None:
        y, *_ = op.Attention(query, key, value, is_causal=1)
    else:
        y, *_ = op.Attention(query, key, value, op.Unsqueeze(attn_mask, ints(0, 1)))
    return y
