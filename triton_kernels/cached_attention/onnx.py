"""`cached_attention` in ONNX."""

import onnx_ir
from onnxscript.onnx_opset import opset24 as op

from ancestral.triton_kernels.cached_attention import cached_attention
from ancestral.triton_kernels.onnx_nodes import (
    INT,
    Form,
    Translations,
    Value,
    contributed,
    integer,
    ints,
    positions,
)

_Lengths = dict[tuple[int, str], tuple[Value, Value]]
"""The length inputs of GroupQueryAttention, by the position's id and the block's size."""
_INT32 = onnx_ir.DataType.INT32
_WHOLE = -1
"""GroupQueryAttention's value for "no window"."""
_HEAD_MULTIPLE = 8
"""GroupQueryAttention requires head sizes that are multiples of this."""
_GROUP_QUERY_ATTENTION = contributed(
    "GroupQueryAttention",
    dict.fromkeys(("query", "key", "value", "past_key", "past_value"), "T")
    | dict.fromkeys(("seqlens_k", "total_sequence_length"), "M"),
    3,
    num_heads=INT,
    kv_num_heads=INT,
    local_window_size=INT,
)


def translations(form: Form) -> Translations:
    """Return the ONNX nodes of the operator in one form, for one export of one graph."""
    lengths: _Lengths = {}

    def attend(
        q: Value,
        k: Value,
        v: Value,
        k_cache: Value,
        v_cache: Value,
        position: Value,
        window: int | None = None,
    ) -> tuple[Value, Value, Value]:
        given = (q, k, v, k_cache, v_cache)
        if form == "onnxruntime" and int(k_cache.shape[3]) % _HEAD_MULTIPLE == 0:
            return _grouped(given, position, window, lengths)
        return _portable(given, position, window)

    return {cached_attention._opoverload: attend}


def _portable(
    given: tuple[Value, ...], position: Value, window: int | None
) -> tuple[Value, Value, Value]:
    """TensorScatter into [b, g, T, d], then Attention under an explicit boolean mask."""
    q, k, v, k_cache, v_cache = given
    group, length, width = (int(k_cache.shape[i]) for i in (1, 2, 3))
    k_cache = op.TensorScatter(k_cache, _heads(k, group, width), position, axis=-2)
    v_cache = op.TensorScatter(v_cache, _heads(v, group, width), position, axis=-2)
    slots = op.Unsqueeze(positions(position, q), ints(1, 3))
    slot = op.Constant(value_ints=list(range(length)))
    visible = op.LessOrEqual(slot, slots)
    if window is not None:
        visible = op.And(visible, op.Greater(slot, op.Sub(slots, integer(window))))
    heads = int(q.shape[2]) // width
    y, *_ = op.Attention(_heads(q, heads, width), k_cache, v_cache, visible)
    merged = op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), ints(0, 0, heads * width))
    return merged, k_cache, v_cache


def _grouped(
    given: tuple[Value, ...], position: Value, window: int | None, lengths: _Lengths
) -> tuple[Value, Value, Value]:
    """GroupQueryAttention; its length inputs are computed once per graph, not once per layer.

    seqlens_k is the last valid slot of each row; total_sequence_length is the largest length.
    """
    q, _, _, k_cache, _ = given
    group, width = int(k_cache.shape[1]), int(k_cache.shape[3])
    key = (id(position), str(q.shape[1]))
    if key not in lengths:
        ends = op.Cast(op.Add(position, op.Shape(q, start=1, end=2)), to=_INT32)
        last = op.Sub(ends, op.Cast(ints(1), to=_INT32))
        lengths[key] = last, op.ReduceMax(ends, keepdims=0)
    y, k_cache, v_cache = _GROUP_QUERY_ATTENTION(
        *given,
        *lengths[key],
        num_heads=int(q.shape[2]) // width,
        kv_num_heads=group,
        local_window_size=_WHOLE if window is None else window,
    )
    return y, k_cache, v_cache


def _heads(x: Value, heads: int, width: int) -> Value:
    """[b, s, h d] -> [b, h, s, d]."""
    return op.Transpose(op.Reshape(x, ints(0, 0, heads, width)), perm=[0, 2, 1, 3])
