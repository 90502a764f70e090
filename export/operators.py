"""Translate this project's operators to ONNX: one table for each form of a graph.

`triton_kernels/onnx_nodes.py` describes the forms; each operator's folder has its translations.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import onnx_ir

from ancestral.triton_kernels.onnx_nodes import FORMS, Form
from ancestral.triton_kernels.operators import modules

__all__ = ["FORMS", "Form", "drop_unused_outputs", "mark_decomposable", "translations"]

_SKIP_NORMS = ("SkipLayerNormalization", "SkipSimplifiedLayerNormalization")


def translations(form: Form) -> dict[Callable[..., Any], Callable[..., Any]]:
    """Return the table of a form: torch operator -> function that writes ONNX nodes.

    A table serves one export of one graph, because translations may share nodes within a graph.
    """
    table: dict[Callable[..., Any], Callable[..., Any]] = {}
    for module in modules("onnx").values():
        table |= import_module(module).translations(form)
    return table


def drop_unused_outputs(graph: onnx_ir.Graph) -> None:
    """Drop unused outputs of the skip norms, whose outputs are optional except the first."""
    for node in graph:
        if node.op_type in _SKIP_NORMS:
            for value in node.outputs[1:]:
                if not value.uses() and not value.is_graph_output():
                    value.name = ""


def mark_decomposable(graph: onnx_ir.Graph) -> bool:
    """Mark all attention nodes as decomposable, so that TensorRT can build them in float32.

    TensorRT's parser (tensorrt_rtx 1.7.1) needs TRT_decomposable = 1 to build a float32 Attention
    over more than one query; ONNX Runtime (1.31) refuses a node with that attribute. Hence the
    tensorrt form, which can go when TensorRT builds such a node without the attribute.

    Returns:
        Whether the graph has an attention node.
    """
    nodes = [node for node in graph if node.op_type == "Attention"]
    for node in nodes:
        node.attributes.add(onnx_ir.AttrInt64("TRT_decomposable", 1))
    return bool(nodes)
