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

_INT32 = onnx_ir.DataType.INT32
_WHOLE = -1
"""GroupQueryAttention's value for "no window"."""
_HEAD_MULTIPLE = 8
"""GroupQueryAttention takes heads of such widths only."""
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
    """The operator in a form."""
    in_form = GroupQueryAttention() if form == "onnxruntime" else portable
    return {cached_attention._opoverload: in_form}


def portable(
    q: Value,
    k: Value,
    v: Value,
    k_cache: Value,
    v_cache: Value,
    position: Value,
    window: int | None = None,
) -> tuple[Value, Value, Value]:
    """TensorScatter into [b, g, T, d], then Attention under an explicit boolean mask."""
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


class GroupQueryAttention:
    """The operator of ONNX Runtime; the lengths that it reads are made once a graph, not a layer.

    It is made for one export of one graph.
    """

    def __init__(self) -> None:
        self._lengths: dict[tuple[int, str], tuple[Value, Value]] = {}

    def __call__(
        self,
        q: Value,
        k: Value,
        v: Value,
        k_cache: Value,
        v_cache: Value,
        position: Value,
        window: int | None = None,
    ) -> tuple[Value, Value, Value]:
        """seqlens_k is the last valid slot of each row; the total is the largest length."""
        group, width = int(k_cache.shape[1]), int(k_cache.shape[3])
        if width % _HEAD_MULTIPLE:
            return portable(q, k, v, k_cache, v_cache, position, window)
        key = (id(position), str(q.shape[1]))
        if key not in self._lengths:
            block = op.Cast(op.Shape(q, start=1, end=2), to=_INT32)
            lengths = op.Add(op.Cast(position, to=_INT32), block)
            last = op.Sub(lengths, op.Cast(ints(1), to=_INT32))
            self._lengths[key] = last, op.ReduceMax(lengths, keepdims=0)
        y, k_cache, v_cache = _GROUP_QUERY_ATTENTION(
            q,
            k,
            v,
            k_cache,
            v_cache,
            *self._lengths[key],
            num_heads=int(q.shape[2]) // width,
            kv_num_heads=group,
            local_window_size=_WHOLE if window is None else window,
        )
        return y, k_cache, v_cache


def _heads(x: Value, heads: int, width: int) -> Value:
    """[b, s, h d] -> [b, h, s, d]."""
    return op.Transpose(op.Reshape(x, ints(0, 0, heads, width)), perm=[0, 2, 1, 3])
