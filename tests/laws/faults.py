"""Faults that the laws must catch, planted in a model (torch) or in a graph (onnxruntime)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import onnx
import torch
from torch import Tensor

from ancestral.engine import Engine
from ancestral.train.models import transformer
from ancestral.train.models.transformer import Transformer
from ancestral.triton_kernels.cached_attention import cached_attention

from ..tamper import edited, set_attribute
from ..toys import make

functional = torch.nn.functional


def plant(bundle: Path, folder: Path, fault: str, toy: str, backend: str) -> Engine:
    """An engine with that fault, on that backend."""
    if backend == "torch":
        return Engine.load(bundle, backend=backend, threads=1, model=faulty_model(fault, toy))
    edit, graphs = _EDITS[fault]
    return Engine.load(edited(bundle, folder, edit, graphs), backend=backend, threads=1)


def faulty_model(fault: str, toy: str) -> Transformer:
    """A toy with a fault; its parallel form is `logits`, its cached one `extend`."""
    model = make(toy)
    logits, extend = model.logits, model.extend
    match fault:
        case "mask shifted":  # a position sees the one after it
            model.logits = _patched(logits, functional, "scaled_dot_product_attention", _peek)
        case "shift missing":  # a position sees its own value

            def unshifted(x: Tensor, label: Tensor | None) -> Tensor:
                return logits(torch.cat([x[:, 1:], x[:, -1:]], dim=1), label)

            model.logits = unshifted
        case "order swapped":  # the last value comes first

            def reversed_order(x: Tensor, label: Tensor | None) -> Tensor:
                return logits(x.flip(1), label).flip(1)

            model.logits = reversed_order
        case "rows mixed":  # a row sees the one before it in the batch

            def mixed(x: Tensor, label: Tensor | None) -> Tensor:
                l = logits(x, label)
                return l + 1e-3 * l.roll(1, dims=0)

            model.logits = mixed
        case "scale wrong":  # the cached form alone
            model.extend = _patched(extend, transformer, "cached_attention", _scaled)
        case "stale slots":  # what lies beyond the position is read
            model.extend = _patched(extend, transformer, "cached_attention", _unmasked)
        case "window":  # the first slot is forgotten
            model.extend = _patched(extend, transformer, "cached_attention", _forgetful)
        case "block wrong":  # blocks forget the first slot, single steps do not
            model.extend = _patched(extend, transformer, "cached_attention", _forgetful_blocks)
        case _:
            raise ValueError(f"no such fault: {fault}")
    return model


def _patched(method: Callable[..., Any], owner: Any, name: str, fake: Callable[..., Any]) -> Any:
    def wrapped(*arguments: Any) -> Any:
        with patch.object(owner, name, fake):
            return method(*arguments)

    return wrapped


_attention = functional.scaled_dot_product_attention


def _peek(q: Tensor, k: Tensor, v: Tensor, *, enable_gqa: bool, **_: Any) -> Tensor:
    t = q.shape[2]
    mask = torch.ones(t, t, dtype=torch.bool).tril(diagonal=1)
    return _attention(q, k, v, mask, enable_gqa=enable_gqa)


def _scaled(q: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return cached_attention(1.01 * q, *rest)


def _again(q: Tensor, new: tuple[Tensor, Tensor, Tensor], mask: Tensor) -> Tensor:
    """Attention over the caches of a result, under another mask [b, 1, s, T]."""
    _, k, v = new
    heads = q.unflatten(-1, (-1, k.shape[-1])).transpose(1, 2)
    return _attention(heads, k, v, mask, enable_gqa=True).transpose(1, 2).flatten(-2)


def _unmasked(q: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    new = cached_attention(q, *rest)
    every = torch.ones(len(q), 1, q.shape[1], new[1].shape[2], dtype=torch.bool)
    return _again(q, new, every), new[1], new[2]


def _forgetful(q: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    new, position = cached_attention(q, *rest), rest[-1]
    slots = (position[:, None] + torch.arange(q.shape[1]))[:, None, :, None]
    slot = torch.arange(new[1].shape[2])
    mask = (slot <= slots) & ((slot > 0) | (slots == 0))
    return _again(q, new, mask), new[1], new[2]


def _forgetful_blocks(q: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (_forgetful if q.shape[1] > 1 else cached_attention)(q, *rest)


def _all_slots(graph: onnx.GraphProto) -> None:
    """Let GroupQueryAttention read every slot: its valid length is the cache's."""
    cache = next(value for value in graph.input if value.name == "k_0")
    last = cache.type.tensor_type.shape.dim[2].dim_value - 1
    constant = onnx.helper.make_tensor("last", onnx.TensorProto.INT32, [], [last])
    graph.initializer.append(constant)
    nodes = []
    for i, node in enumerate(graph.node):
        if node.op_type == "GroupQueryAttention":
            nodes.append(onnx.helper.make_node("Max", [node.input[5], "last"], [f"every.{i}"]))
            node.input[5] = f"every.{i}"
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


_EDITS: dict[str, tuple[Callable[[onnx.GraphProto], None], str]] = {
    "mask missing": (set_attribute("Attention", "is_causal", 0), "lo*"),
    "scale wrong": (set_attribute("GroupQueryAttention", "scale", 0.3), "step.onnxruntime"),
    "window": (set_attribute("GroupQueryAttention", "local_window_size", 2), "step.onnxruntime"),
    "block wrong": (
        set_attribute("GroupQueryAttention", "local_window_size", 2),
        "prefill.onnxruntime",
    ),
    "stale slots": (_all_slots, "step.onnxruntime"),
}
