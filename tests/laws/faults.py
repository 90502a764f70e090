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
from tests.conftest import device_of
from tests.tamper import edited, set_attribute
from tests.toys import transformer as make_transformer

functional = torch.nn.functional


def plant(bundle: Path, folder: Path, fault: str, toy: str, backend: str) -> Engine:
    """Return an engine with the fault, on the backend."""
    if backend != "onnxruntime":
        model, device = faulty_model(fault, toy), device_of(backend)
        return Engine.load(bundle, backend=backend, device=device, threads=1, model=model)
    edit, graphs = _EDITS[fault]
    return Engine.load(edited(bundle, folder, edit, graphs), backend=backend, threads=1)


def faulty_model(fault: str, toy: str) -> Transformer:
    """Return a toy with a fault in `logits`, its parallel form, or in `extend`, its cached form."""
    model = make_transformer(toy)
    if fault in _CACHED:
        for name in ("extend", "extend_cache"):
            method = _patched(getattr(model, name), transformer, "cached_attention", _CACHED[fault])
            setattr(model, name, method)
    else:
        model.predict = _PARALLEL[fault](model.predict)
    return model


Logits = Callable[[Tensor, Tensor | None], Tensor]


def _sees_the_next(logits: Logits) -> Logits:
    return _patched(logits, functional, "scaled_dot_product_attention", _peek)


def _sees_itself(logits: Logits) -> Logits:
    return lambda x, label: logits(torch.cat([x[:, 1:], x[:, -1:]], dim=1), label)


def _last_first(logits: Logits) -> Logits:
    return lambda x, label: logits(x.flip(1), label).flip(1)


def _rows_mixed(logits: Logits) -> Logits:
    def mixed(x: Tensor, label: Tensor | None) -> Tensor:
        l = logits(x, label)
        return l + 1e-3 * l.roll(1, dims=0)

    return mixed


def _patched(method: Callable[..., Any], owner: Any, name: str, fake: Callable[..., Any]) -> Any:
    def wrapped(*arguments: Any) -> Any:
        with patch.object(owner, name, fake):
            return method(*arguments)

    return wrapped


_attention = functional.scaled_dot_product_attention


def _peek(q: Tensor, k: Tensor, v: Tensor, *_: Any, enable_gqa: bool, **__: Any) -> Tensor:
    t = q.shape[2]
    mask = torch.ones(t, t, dtype=torch.bool, device=q.device).tril(diagonal=1)
    return _attention(q, k, v, mask, enable_gqa=enable_gqa)


def _scaled(q: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return cached_attention(1.01 * q, *rest)


def _again(q: Tensor, new: tuple[Tensor, Tensor, Tensor], mask: Tensor) -> Tensor:
    """Return attention over the caches of a result, with another mask [b, 1, s, T]."""
    _, k, v = new
    heads = q.unflatten(-1, (-1, k.shape[-1])).transpose(1, 2)
    return _attention(heads, k, v, mask, enable_gqa=True).transpose(1, 2).flatten(-2)


def _unmasked(q: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    new = cached_attention(q, *rest)
    shape = (len(q), 1, q.shape[1], new[1].shape[2])
    every = torch.ones(shape, dtype=torch.bool, device=q.device)
    return _again(q, new, every), new[1], new[2]


def _forgetful(q: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    new, position = cached_attention(q, *rest), rest[4]
    slots = position[:, None] + torch.arange(q.shape[1], device=q.device)
    slots = slots[:, None, :, None]
    slot = torch.arange(new[1].shape[2], device=q.device)
    mask = (slot <= slots) & ((slot > 0) | (slots == 0))
    return _again(q, new, mask), new[1], new[2]


def _forgetful_blocks(q: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (_forgetful if q.shape[1] > 1 else cached_attention)(q, *rest)


def _all_slots(graph: onnx.GraphProto) -> None:
    """Let GroupQueryAttention read every slot: its valid length becomes the cache's length."""
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


_PARALLEL: dict[str, Callable[[Logits], Logits]] = {
    "mask shifted": _sees_the_next,
    "shift missing": _sees_itself,
    "order swapped": _last_first,
    "rows mixed": _rows_mixed,
}
_CACHED = {
    "scale wrong": _scaled,
    "stale slots": _unmasked,
    "window": _forgetful,
    "block wrong": _forgetful_blocks,
}
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
