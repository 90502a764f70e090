"""Replace causal attention in a graph by our kernel, as a TensorRT plugin.

No bundle contains this form. It is made from the portable or tensorrt form of a graph when the
graph is compiled with the plugin (`plugin.py`).
"""

from pathlib import Path

import onnx_ir
from onnx_ir.convenience import replace_all_uses_with

from ancestral.errors import ExportError
from ancestral.export.weights import to_bytes
from ancestral.triton_kernels.masked_attention import WIDEST_DENSE

NAMESPACE, NAME, VERSION = "ancestral", "masked_attention", "1"
"""Namespace, name and version by which TensorRT finds the plugin of a node."""

_HEADS_INNER = [0, 2, 1, 3]
"""The permutation from [b, h, t, d] to [b, t, h, d], and back."""
_PLAIN = {"is_causal": 1, "TRT_decomposable": 1, "softcap": 0.0, "qk_matmul_output_mode": 0}
"""Attributes of Attention that the plugin supports, each with its only supported value."""


def plugin_form(model: onnx_ir.Model) -> onnx_ir.Model:
    """Return a copy of a graph in which our plugin computes causal attention over its own keys.

    Attention with a mask, over a cache, is left to TensorRT.

    Raises:
        ExportError: the graph has no causal attention, or one that the plugin does not support.
    """
    changed = model.clone()
    graph = changed.graph
    nodes = [node for node in graph if _is_causal(node)]
    if not nodes:
        raise ExportError(
            "the graph has no causal attention over its own keys, as log_prob, logits and redraw "
            "of a Transformer have; compile it without --plugin"
        )
    for node in nodes:
        _refuse_others(node)
        _replace(graph, node)
    graph.opset_imports[NAMESPACE] = int(VERSION)
    return changed


def plugin_form_of(file: Path) -> bytes:
    """Return the ONNX file of a graph in plugin form, which refers to the weights of `file`.

    A parser that reads these bytes needs the path of `file` to find the weights.

    Raises:
        ExportError: the graph has no causal attention, or one that the plugin does not support.
    """
    return to_bytes(plugin_form(onnx_ir.load(file)))


def takes_plugin(file: Path) -> bool:
    """Whether a graph has causal attention over its own keys."""
    return any(_is_causal(node) for node in onnx_ir.load(file).graph)


def _is_causal(node: onnx_ir.Node) -> bool:
    return (
        node.op_type == "Attention"
        and not node.domain
        and node.attributes.get_int("is_causal", 0) == 1
    )


def _refuse_others(node: onnx_ir.Node) -> None:
    """Check that the plugin supports an attention node.

    Raises:
        ExportError: the plugin would compute something else than the node.
    """
    attributes = {name: each.value for name, each in node.attributes.items()}
    attributes = {name: each for name, each in attributes.items() if _PLAIN.get(name) != each}
    inputs = [i for i, value in enumerate(node.inputs) if i > 2 and value is not None]
    outputs = [i for i, value in enumerate(node.outputs) if i > 0 and value.name and value.uses()]
    if attributes or inputs or outputs:
        raise ExportError(
            f"{node.name}: expected plain causal attention, got attributes {attributes}, "
            f"inputs {inputs}, outputs {outputs}; compile the graph without --plugin"
        )
    shape = node.outputs[0].shape
    width = shape[3] if shape is not None and len(shape) == 4 else None
    if not isinstance(width, int) or not 1 <= width <= WIDEST_DENSE:
        raise ExportError(
            f"{node.name}: expected heads of a fixed size in 1 .. {WIDEST_DENSE}, got shape "
            f"{shape}; compile the graph without --plugin"
        )


def _replace(graph: onnx_ir.Graph, node: onnx_ir.Node) -> None:
    """Replace attention, with output [b, h, t, d], by the plugin, with output [b, t, h, d].

    Transpositions to [b, t, h, d] after the attention are removed. Other readers get the plugin's
    output transposed back.
    """
    y = node.outputs[0]
    plugin = onnx_ir.Node(
        NAMESPACE,
        NAME,
        node.inputs[:3],
        [
            onnx_ir.AttrString("plugin_namespace", NAMESPACE),
            onnx_ir.AttrString("plugin_version", VERSION),
            onnx_ir.AttrInt64("aot", 1),
        ],
        name=node.name,
    )
    made = plugin.outputs[0]
    made.name, made.type = f"{y.name}_by_slot", y.type
    made.shape = onnx_ir.Shape([(y.shape or ())[axis] for axis in _HEADS_INNER])
    graph.insert_before(node, plugin)
    for user in [user for user, _ in tuple(y.uses()) if _is_transposition(user)]:
        replace_all_uses_with(user.outputs[0], made, replace_graph_outputs=True)
        graph.remove(user, safe=True)
    if y.uses() or y.is_graph_output():
        back = onnx_ir.Node(
            "", "Transpose", [made], [onnx_ir.AttrInt64s("perm", _HEADS_INNER)],
            name=f"{node.name}_by_head",
        )  # fmt: skip
        back.outputs[0].shape, back.outputs[0].type = y.shape, y.type
        graph.insert_before(node, back)
        replace_all_uses_with(y, back.outputs[0], replace_graph_outputs=True)
    graph.remove(node, safe=True)


def _is_transposition(node: onnx_ir.Node) -> bool:
    return (
        node.op_type == "Transpose"
        and list(node.attributes.get_ints("perm", [])) == _HEADS_INNER
        and not node.outputs[0].is_graph_output()
    )
