"""How our operators become ONNX: one translation table for each form of a graph.

The forms are told apart in `triton_kernels/onnx_nodes.py`; each operator's folder has its own
translations.
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
    """The table of a form: torch operator -> function that writes ONNX nodes.

    It is made for one export of one graph: translations may share what they compute.
    """
    table: dict[Callable[..., Any], Callable[..., Any]] = {}
    for module in modules("onnx").values():
        table |= import_module(module).translations(form)
    return table


def drop_unused_outputs(graph: onnx_ir.Graph) -> None:
    """Leave out what no node reads of the skip norms, whose outputs but the first are optional."""
    for node in graph:
        if node.op_type in _SKIP_NORMS:
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
