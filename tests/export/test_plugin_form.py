"""Graphs with our plugin in place of causal attention give the same numbers, or are refused."""

from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from ancestral.bundles.bundle import Bundle
from ancestral.errors import ExportError
from ancestral.export.tensorrt.plugin_form import plugin_form, plugin_form_of
from ancestral.triton_kernels.masked_attention import masked_attention_reference
from tests.export.attention_graph import attention

Arrays = list[NDArray[Any]]

ROUNDINGS = 2e-5
"""Limit on the effect of another float32 summation order on logits of about 10.

The planted fault is a thousand times larger.
"""


def runs(order: str) -> type[OpRun]:
    """Return the plugin, computed by the operator's reference, for inputs in a given order."""

    class Plugin(OpRun):
        op_domain = "ancestral"

        def _run(self, *given: NDArray[Any], **attributes: Any) -> tuple[NDArray[Any]]:
            assert attributes == {"aot": 1, "plugin_namespace": "ancestral", "plugin_version": "1"}
            q, k, v = (torch.from_numpy(given["qkv".index(name)]) for name in order)
            y = masked_attention_reference(q, k, v, None, None, None)
            return (y.transpose(1, 2).numpy(),)

    return type("masked_attention", (Plugin,), {})


def outputs(model: onnx.ModelProto, inputs: dict[str, NDArray[Any]], order: str = "qkv") -> Arrays:
    return ReferenceEvaluator(model, new_ops=[runs(order)]).run(None, inputs)


def converted(file: Path) -> onnx.ModelProto:
    model = onnx.load_model_from_string(plugin_form_of(file))
    onnx.load_external_data_for_model(model, str(file.parent))
    return model


def inputs_of(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    """Return random inputs; axes without a fixed size are 2."""
    generator = np.random.default_rng(3)
    found = {}
    for value in model.graph.input:
        shape = [dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type == onnx.TensorProto.INT64:
            found[value.name] = generator.integers(0, 2, shape)
        else:
            found[value.name] = generator.random(shape, dtype=np.float32)
    return found


def nodes(model: onnx.ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def is_causal(node: onnx.NodeProto) -> bool:
    """Return whether a node is attention that is causal by its attribute, without a mask."""
    return node.op_type == "Attention" and any(
        each.name == "is_causal" and each.i == 1 for each in node.attribute
    )


# Attention with a window is unchanged, and onnx cannot evaluate it if it is marked for TensorRT.
@pytest.mark.parametrize(
    ("toy", "form"),
    [*product(("tiny", "startless"), ("portable", "tensorrt")), ("llama", "portable")],
)
def test_same_numbers(bundles: Callable[[str], Path], toy: str, form: str) -> None:
    file = Bundle.open(bundles(toy)).graph_file("logits", form).resolve()
    before, after = onnx.load(file), converted(file)
    attentions = sum(is_causal(node) for node in before.graph.node)
    assert nodes(after).count("masked_attention") == attentions > 0
    assert not any(is_causal(node) for node in after.graph.node)
    windows = nodes(before).count("Attention") - attentions
    assert nodes(after).count("Attention") == windows == (toy == "llama")
    # Models transpose the result of Attention; the plugin's result is transposed already.
    assert nodes(before).count("Transpose") - nodes(after).count("Transpose") == attentions
    for node in before.graph.node:
        for attribute in [each for each in node.attribute if each.name == "TRT_decomposable"]:
            node.attribute.remove(attribute)
    inputs = inputs_of(before)
    expected = outputs(before, inputs)
    for got, exact in zip(outputs(after, inputs), expected, strict=True):
        np.testing.assert_allclose(got, exact, rtol=0, atol=ROUNDINGS)
    swapped = outputs(after, inputs, order="qvk")
    assert (
        max(np.abs(a - b).max() for a, b in zip(swapped, expected, strict=True)) > 1000 * ROUNDINGS
    )


@pytest.mark.parametrize("transposed", [True, False])
def test_order_of_axes(transposed: bool) -> None:
    """The axis of heads is where the node after the attention expects it."""
    model = attention(is_causal=1, transposed=transposed)
    before, after = onnx_ir.to_proto(model), onnx_ir.to_proto(plugin_form(model))
    assert nodes(after) == ["masked_attention", *([] if transposed else ["Transpose"]), "Neg"]
    assert nodes(before)[0] == "Attention"
    generator = np.random.default_rng(0)
    inputs = {
        name: generator.normal(size=(3, 2 if name == "q" else 1, 5, 8)).astype(np.float32)
        for name in "qkv"
    }
    (got,), (expected,) = outputs(after, inputs), outputs(before, inputs)
    np.testing.assert_allclose(got, expected, rtol=0, atol=ROUNDINGS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (attention(), "the graph has no causal attention"),
        (attention(is_causal=1, scale=0.5), r"got attributes \{'scale': 0.5\}"),
        (attention(is_causal=1, softcap=2.0), r"got attributes \{'softcap': 2.0\}"),
        (attention(is_causal=1, mask=True), r"inputs \[3\]"),
        (attention(is_causal=1, width=129), "heads of a fixed size in 1 .. 128, got shape"),
    ],
    ids=["none", "scale", "softcap", "mask", "wide"],
)
def test_refused(model: onnx_ir.Model, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        plugin_form(model)


@pytest.mark.parametrize("graph", ["step", "prefill"])
def test_attention_over_a_cache_is_refused(tiny_bundle: Path, graph: str) -> None:
    """Attention over a cache has a mask, which this kernel does not support."""
    with pytest.raises(ExportError, match="compile it without --plugin"):
        plugin_form_of(Bundle.open(tiny_bundle).graph_file(graph, "tensorrt"))
