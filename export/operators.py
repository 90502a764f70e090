"""How our operators become ONNX: one translation table for each form of a graph.

    portable      standard operators alone, in the shapes that every runtime reads rightly
    onnxruntime   GroupQueryAttention, which appends by itself and reads the valid length alone;
                  small buffers appended in place too
    tensorrt      the portable form with attention marked decomposable, which fp32 needs there

A table is made for one export of one graph: translations may share what they compute.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import onnx_ir
import torch
from onnx.defs import OpSchema
from onnxscript.onnx_opset import opset24 as op
from onnxscript.values import Op, Opset

# Importing the operators registers them with torch.library.
from ancestral.triton_kernels import append, cached_attention, recurrence, ring  # noqa: F401
from ancestral.triton_kernels.mass_threshold import BISECTIONS, LOWEST

Form = Literal["portable", "onnxruntime", "tensorrt"]
FORMS: tuple[Form, ...] = get_args(Form)
Table = dict[Callable[..., Any], Callable[..., Any]]
Value = Any  # a symbolic ONNX value while a graph is being made

_INT32 = onnx_ir.DataType.INT32
_WHOLE = -1
"""The window of GroupQueryAttention that is none."""
_HEAD_MULTIPLE = 8
"""GroupQueryAttention takes heads of such widths alone."""


def translations(form: Form) -> Table:
    """The table of a form: torch operator -> function that writes ONNX nodes."""
    table: Table = {
        torch.ops.aten.linear.default: linear,
        torch.ops.aten.scaled_dot_product_attention.default: causal_attention,
        torch.ops.ancestral.mass_threshold.default: mass_threshold,
        torch.ops.ancestral.residual_norm.default: residual_norm,
        torch.ops.ancestral.ring.default: ring_portable,
        torch.ops.ancestral.gru.default: gru,
        torch.ops.ancestral.lstm.default: lstm,
    }
    match form:
        case "portable" | "tensorrt":
            table[torch.ops.ancestral.cached_attention.default] = cached_attention_portable
            table[torch.ops.ancestral.append.default] = append_scatter
        case "onnxruntime":
            table[torch.ops.ancestral.cached_attention.default] = CachedAttentionOnnxRuntime()
            table[torch.ops.ancestral.append.default] = append_in_place
            table[torch.ops.ancestral.ring.default] = ring_in_place
            table[torch.ops.ancestral.residual_norm.default] = residual_norm_onnxruntime
    return table


def cached_attention_portable(
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
    block = op.Range(_scalar(0), op.Squeeze(op.Shape(q, start=1, end=2)), _scalar(1))
    slots = op.Unsqueeze(op.Add(op.Unsqueeze(position, _ints(1)), block), _ints(1, 3))
    slot = op.Constant(value_ints=list(range(length)))
    visible = op.LessOrEqual(slot, slots)
    if window is not None:
        visible = op.And(visible, op.Greater(slot, op.Sub(slots, _scalar(window))))
    heads = int(q.shape[2]) // width
    y, *_ = op.Attention(_heads(q, heads, width), k_cache, v_cache, visible)
    merged = op.Reshape(op.Transpose(y, perm=[0, 2, 1, 3]), _ints(0, 0, heads * width))
    return merged, k_cache, v_cache


class CachedAttentionOnnxRuntime:
    """GroupQueryAttention; the lengths that it reads are made once a graph, not once a layer."""

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
            return cached_attention_portable(q, k, v, k_cache, v_cache, position, window)
        key = (id(position), str(q.shape[1]))
        if key not in self._lengths:
            block = op.Cast(op.Shape(q, start=1, end=2), to=_INT32)
            lengths = op.Add(op.Cast(position, to=_INT32), block)
            last = op.Sub(lengths, op.Cast(_ints(1), to=_INT32))
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


def residual_norm(
    x: Value, y: Value, weight: Value, bias: Value | None, epsilon: float, rms: bool
) -> tuple[Value, Value]:
    """Add, then LayerNormalization or RMSNormalization."""
    h = op.Add(x, y)
    if rms:
        return h, op.RMSNormalization(h, weight, axis=-1, epsilon=epsilon)
    normed, *_ = op.LayerNormalization(h, weight, bias, axis=-1, epsilon=epsilon)
    return h, normed


def residual_norm_onnxruntime(
    x: Value, y: Value, weight: Value, bias: Value | None, epsilon: float, rms: bool
) -> tuple[Value, Value]:
    """SkipLayerNormalization or SkipSimplifiedLayerNormalization, the sum as their last output."""
    if rms:
        normed, _, _, h = _SKIP_RMS_NORM(x, y, weight, epsilon=epsilon)
    else:
        normed, _, _, h = _SKIP_LAYER_NORM(x, y, weight, bias, epsilon=epsilon)
    return h, normed


def append_in_place(buffer: Value, position: Value, block: Value) -> Value:
    """TensorScatter, which ONNX Runtime does in place where both buffers are one memory."""
    return op.TensorScatter(buffer, block, position, axis=1)


def append_scatter(buffer: Value, position: Value, block: Value) -> Value:
    """ScatterElements at position .. position + s - 1 (TensorRT scatters tensors in 4-D alone)."""
    steps = op.Range(_scalar(0), op.Squeeze(op.Shape(block, start=1, end=2)), _scalar(1))
    slots = op.Add(op.Unsqueeze(position, _ints(1)), steps)
    return op.ScatterElements(buffer, slots, block, axis=1)


def ring_portable(
    buffer: Value, value: Value, position: Value, offsets: Sequence[int]
) -> tuple[Value, Value]:
    """ScatterElements at position mod R, then GatherElements.

    Several TensorScatters of small rings in one graph end tensorrt_rtx's builder without a word.
    """
    slot, index = _ring_slots(buffer, position, offsets)
    block = op.Unsqueeze(value, _ints(1))
    slot = op.Expand(op.Unsqueeze(slot, _ints(1, 2, 3)), op.Shape(block))
    written = op.ScatterElements(buffer, slot, block, axis=2)
    return _ring_taps(written, position, offsets, index), written


def ring_in_place(
    buffer: Value, value: Value, position: Value, offsets: Sequence[int]
) -> tuple[Value, Value]:
    """TensorScatter at position mod R, in place; then GatherElements."""
    slot, index = _ring_slots(buffer, position, offsets)
    written = op.TensorScatter(buffer, op.Unsqueeze(value, _ints(1)), slot, axis=-2)
    return _ring_taps(written, position, offsets, index), written


def _ring_slots(buffer: Value, position: Value, offsets: Sequence[int]) -> tuple[Value, Value]:
    """Slot that is written, [b]; element that is read at each tap and feature, [b, 1, n, d]."""
    length, width = _scalar(int(buffer.shape[2])), int(buffer.shape[3])
    at = op.Unsqueeze(op.Add(op.Unsqueeze(position, _ints(1)), _ints(*offsets)), _ints(1, 3))
    index = op.Expand(op.Mod(at, length), _ints(1, 1, 1, width))
    return op.Mod(position, length), index


def _ring_taps(written: Value, position: Value, offsets: Sequence[int], index: Value) -> Value:
    at = op.Add(op.Unsqueeze(position, _ints(1)), _ints(*offsets))
    taps = op.Squeeze(op.GatherElements(written, index, axis=2), _ints(1))
    return op.Where(op.Less(op.Unsqueeze(at, _ints(2)), _scalar(0)), _float(0.0), taps)


def gru(x: Value, h: Value, w: Value, r: Value, bias: Value) -> tuple[Value, Value]:
    """GRU over positions first, the reset gate after the product."""
    y, last = op.GRU(
        op.Transpose(x, perm=[1, 0, 2]),
        w,
        r,
        bias,
        None,
        op.Unsqueeze(h, _ints(0)),
        hidden_size=int(r.shape[2]),
        linear_before_reset=1,
    )
    return _batch_first(y), op.Squeeze(last, _ints(0))


def lstm(
    x: Value, h: Value, c: Value, w: Value, r: Value, bias: Value
) -> tuple[Value, Value, Value]:
    """LSTM over positions first."""
    y, last, cell = op.LSTM(
        op.Transpose(x, perm=[1, 0, 2]),
        w,
        r,
        bias,
        None,
        op.Unsqueeze(h, _ints(0)),
        op.Unsqueeze(c, _ints(0)),
        hidden_size=int(r.shape[2]),
    )
    return _batch_first(y), op.Squeeze(last, _ints(0)), op.Squeeze(cell, _ints(0))


def mass_threshold(z: Value, w: Value, mass: Value, inclusive: bool) -> Value:
    """The bisection unrolled: no loop, no sort, seven nodes a halving."""
    compare = op.GreaterOrEqual if inclusive else op.Greater
    zero, last = _float(0.0), _ints(-1)
    low = _float(LOWEST)
    for halving in range(1, BISECTIONS + 1):
        width = _float(-LOWEST * 2.0**-halving)
        middle = op.Add(low, width)
        held = op.GreaterOrEqual(
            op.ReduceSum(op.Where(compare(z, middle), w, zero), last, keepdims=1), mass
        )
        low = op.Add(low, op.Where(held, width, zero))
    return low


def linear(x: Value, weight: Value, bias: Value = None) -> Value:
    """Gemm of x with its rows in one axis: it reads the weight [d_out, d_in] as it is stored.

    The exporter's own way, MatMul with a transposed weight, is folded into a second weight.
    """
    d_out, d_in = (int(size) for size in weight.shape)
    flat = x if len(x.shape) == 2 else op.Reshape(x, _ints(-1, d_in))
    y = op.Gemm(flat, weight, *([] if bias is None else [bias]), transB=1)
    if len(x.shape) == 2:
        return y
    return op.Reshape(y, op.Concat(op.Shape(x, end=-1), _ints(d_out), axis=0))


def causal_attention(  # noqa: PLR0913 - the arguments of the torch operator
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
        y, *_ = op.Attention(query, key, value, op.Unsqueeze(attn_mask, _ints(0, 1)))
    return y


def drop_unused_outputs(graph: onnx_ir.Graph) -> None:
    """Leave out what no node reads of the skip norms, whose outputs but the first are optional."""
    for node in graph:
        if node.op_type in {_SKIP_LAYER_NORM.name, _SKIP_RMS_NORM.name}:
            for value in node.outputs[1:]:
                if not value.uses() and not value.is_graph_output():
                    value.name = ""


def mark_decomposable(graph: onnx_ir.Graph) -> bool:
    """Let TensorRT build attention in fp32 (ONNX Runtime refuses a node that is marked so).

    Returns:
        whether there was a node to mark.
    """
    nodes = [node for node in graph if node.op_type == "Attention"]
    for node in nodes:
        node.attributes.add(onnx_ir.AttrInt64("TRT_decomposable", 1))
    return bool(nodes)


def _batch_first(y: Value) -> Value:
    """[s, 1, b, d] -> [b, s, d]."""
    return op.Transpose(op.Squeeze(y, _ints(1)), perm=[1, 0, 2])


def _heads(x: Value, heads: int, width: int) -> Value:
    """[b, s, h d] -> [b, h, s, d]."""
    return op.Transpose(op.Reshape(x, _ints(0, 0, heads, width)), perm=[0, 2, 1, 3])


def _ints(*values: int) -> Value:
    return op.Constant(value_ints=list(values))


def _float(value: float) -> Value:
    return op.Constant(value_float=value)


def _scalar(value: int) -> Value:
    return op.Constant(value_int=value)


def _contrib(name: str, types: Mapping[str, str], outputs: int, **attributes: Any) -> Op:
    """An operator of ONNX Runtime's own domain, of which the onnx package has no schema.

    Args:
        name: of the operator.
        types: of its inputs, in order: T (activations and caches) or M (int32 lengths).
        outputs: their number.
        attributes: type of each.
    """
    parameter = OpSchema.FormalParameter
    schema = OpSchema(
        name,
        "com.microsoft",
        1,
        inputs=[
            parameter(each, kind.rstrip("?"), param_option=_OPTIONAL if "?" in kind else _SINGLE)
            for each, kind in types.items()
        ],
        outputs=[parameter(f"output_{i}", "T") for i in range(outputs)],
        type_constraints=[
            ("T", ["tensor(float)", "tensor(float16)"], "activations and caches"),
            *([("M", ["tensor(int32)"], "lengths")] if "M" in types.values() else []),
        ],
        attributes=[OpSchema.Attribute(each, kind) for each, kind in attributes.items()],
    )
    return Op(Opset("com.microsoft", 1), name, schema)


_SINGLE, _OPTIONAL = OpSchema.FormalParameterOption.Single, OpSchema.FormalParameterOption.Optional
_INT, _FLOAT = OpSchema.AttrType.INT, OpSchema.AttrType.FLOAT
_GROUP_QUERY_ATTENTION = _contrib(
    "GroupQueryAttention",
    dict.fromkeys(("query", "key", "value", "past_key", "past_value"), "T")
    | dict.fromkeys(("seqlens_k", "total_sequence_length"), "M"),
    3,
    num_heads=_INT,
    kv_num_heads=_INT,
    local_window_size=_INT,
)
_SKIP_LAYER_NORM = _contrib(
    "SkipLayerNormalization",
    {"input": "T", "skip": "T", "gamma": "T", "beta": "T?"},
    4,
    epsilon=_FLOAT,
)
_SKIP_RMS_NORM = _contrib(
    "SkipSimplifiedLayerNormalization",
    {"input": "T", "skip": "T", "gamma": "T"},
    4,
    epsilon=_FLOAT,
)
