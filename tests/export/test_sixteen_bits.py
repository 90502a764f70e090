"""The cast to 16 bits: which nodes compute in 16 bits, and where types change."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnx_ir import DataType

from ancestral.bundles.bundle import Bundle
from ancestral.export.lint import lint
from ancestral.export.passes.last_projection import PRODUCTS
from ancestral.export.passes.sixteen_bits import narrow
from ancestral.export.weights import INLINE, Slot, to_bytes
from ancestral.signature import Carried, GraphSignature, TensorSpec, Update

FLOAT, HALF, BOOL = DataType.FLOAT, DataType.FLOAT16, DataType.BOOL
WEIGHTS = {"w": (4, 4), "r": (4, 4), "scale": (4,), "gru_w": (1, 12, 4), "gru_b": (1, 24)}
TABLE = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
NUMBERS = np.unique(np.float32(0.1) * np.arange(1, 9, dtype=np.float32))

Nodes = list[tuple[str, str, str]]
Made = tuple[onnx_ir.Model, dict[str, onnx_ir.Value]]


def cast(nodes: Nodes, dtype: str = "float16", **constants: object) -> Made:
    """Return a graph of nodes (operator, inputs, output), cast to 16 bits, and its values by name.

    Inputs are x [b, 4], noise [b, 4], tokens [b] and cache [b, 4], which is carried to cache_next.
    """
    rows = ("b", 4)
    given = [("x", FLOAT, rows), ("noise", FLOAT, rows), ("tokens", DataType.INT64, ("b",))]
    made = [name for _, _, name in nodes]
    outputs = [(name, FLOAT, rows) for name in ("y", "cache_next") if name in made]
    graph = helper.make_graph(
        [
            helper.make_node(op, [n if n != "-" else "" for n in names.split()], [out], name=out)
            for op, names, out in nodes
        ],
        "g",
        [helper.make_tensor_value_info(*each) for each in (*given, ("cache", FLOAT, rows))],
        [helper.make_tensor_value_info(*each) for each in outputs],
        initializer=[
            *(
                helper.make_tensor(
                    name, FLOAT, shape, TABLE.ravel()[np.arange(np.prod(shape)) % 12]
                )
                for name, shape in (WEIGHTS | {"table": (3, 4)}).items()
            ),
            *(_constant(name, np.asarray(value)) for name, value in constants.items()),
        ],
        value_info=[
            helper.make_tensor_value_info(out, BOOL if op == "Greater" else FLOAT, None)
            for op, _, out in nodes
        ],
    )
    opsets = [helper.make_opsetid("", 24)]
    model = onnx_ir.from_proto(helper.make_model(graph, ir_version=10, opset_imports=opsets))
    slots = {
        name: Slot(DataType[dtype.upper()], shape, 0, 2)
        for name, shape in (WEIGHTS | {"table": (3, 4)}).items()
    }
    signature = _signature([name for name, *_ in outputs], dtype)
    narrow(model, signature, dtype, slots, NUMBERS)
    assert lint(model, "portable", signature) == []
    values = {value.name: value for node in model.graph for value in node.outputs if value.name}
    return model, values


def _constant(name: str, array: np.ndarray) -> TensorProto:
    kind = TensorProto.FLOAT if array.dtype.kind == "f" else TensorProto.INT64
    return helper.make_tensor(name, kind, array.shape, array.ravel())


def _signature(outputs: list[str], dtype: str) -> GraphSignature:
    def spec(name: str, kind: str) -> TensorSpec:
        return TensorSpec(name=name, dtype=kind, axes=("b", 4))

    return GraphSignature(
        inputs=(
            spec("x", "float32"),
            spec("noise", "float32"),
            TensorSpec(name="tokens", dtype="int64", axes=("b",)),
            spec("cache", dtype),
        ),
        outputs=tuple(spec(n, dtype if n == "cache_next" else "float32") for n in outputs),
        carried=(Carried(input="cache", output="cache_next", update=Update.REPLACE),)
        * ("cache_next" in outputs),
    )


A, HEAD = ("MatMul", "x w", "a"), ("MatMul", "h r", "y")
RULES: dict[str, tuple[Nodes, dict[str, object], dict[str, DataType]]] = {
    "a product with a weight": ([("MatMul", "x w", "h"), HEAD], {}, {"h": HALF, "y": FLOAT}),
    "the last one": ([("MatMul", "x w", "y")], {}, {"y": FLOAT}),
    "a node after it": ([("MatMul", "x w", "h"), ("Relu", "h", "y")], {}, {"h": FLOAT}),
    "only 16 bits": ([A, ("Relu", "a", "h"), HEAD], {}, {"a": HALF, "h": HALF}),
    "16 bits and float32": ([A, ("Add", "a noise", "h"), HEAD], {}, {"a": HALF, "h": FLOAT}),
    "only float32": (
        [("Mul", "x noise", "a"), ("MatMul", "a w", "h"), HEAD],
        {},
        {"a": FLOAT, "h": HALF},
    ),
    "products without weights": (
        [A, ("MatMul", "a a", "b"), ("MatMul", "noise x", "c"), ("Add", "b c", "h"), HEAD],
        {},
        {"b": HALF, "c": FLOAT},
    ),
    "sums and softmax": (
        [A, ("Softmax", "a", "b"), ("CumSum", "b axis", "h"), HEAD],
        {"axis": 1},
        {"a": HALF, "b": FLOAT, "h": FLOAT},
    ),
    "one number": ([A, ("Mul", "a two", "h"), HEAD], {"two": 2.5}, {"h": HALF}),
    "a number too large": ([A, ("Add", "a mask", "h"), HEAD], {"mask": -1e38}, {"h": FLOAT}),
    "a number too small": ([A, ("Add", "a small", "h"), HEAD], {"small": 1e-9}, {"h": FLOAT}),
    "several numbers": (
        [A, ("Mul", "a cosine", "h"), HEAD],
        {"cosine": np.cos(np.arange(4.0))},
        {"h": FLOAT},
    ),
    "a rearranged weight": (
        [A, ("Add", "a folded", "h"), HEAD],
        {"folded": NUMBERS[[3, 1, 4, 0]]},
        {"h": HALF},
    ),
    "a look-up": ([("Gather", "table tokens", "h"), HEAD], {}, {"h": HALF, "y": FLOAT}),
    "a look-up of results": (
        [("Gather", "table tokens", "a"), ("Sub", "a noise", "y")],
        {},
        {"a": HALF, "y": FLOAT},
    ),
    "a norm": ([A, ("LayerNormalization", "a scale", "h"), HEAD], {}, {"h": HALF}),
    "a cache": (
        [
            ("Add", "cache noise", "a"),
            ("Greater", "x noise", "yes"),
            ("Where", "yes a cache", "cache_next"),
            ("Relu", "cache", "b"),
            ("MatMul", "b w", "h"),
            HEAD,
        ],
        {},
        {"a": FLOAT, "b": HALF, "cache_next": HALF},
    ),
    "an append": (
        [("ScatterElements", "cache at x", "cache_next"), ("MatMul", "cache_next w", "h"), HEAD],
        {"at": np.zeros((1, 4), np.int64)},
        {"cache_next": HALF, "h": HALF},
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_rule(rule: str) -> None:
    nodes, constants, expected = RULES[rule]
    _, values = cast(nodes, **constants)
    assert {name: values[name].dtype for name in (*expected, "y")} == expected | {"y": FLOAT}
    if rule == "an append":
        made = values["cache_next"].producer()
        assert made.op_type == "ScatterElements", "no node between the append and the cache"


def test_a_recurrent_layer_is_float32() -> None:
    """A recurrent layer has widened weights: in 16 bits it crashes ONNX Runtime."""
    nodes = [("Unsqueeze", "x first", "a"), ("GRU", "a gru_w gru_w gru_b", "s")]
    nodes += [("Squeeze", "s outer", "h"), HEAD]
    _, values = cast(nodes, first=np.array([0]), outer=np.array([0, 1]))
    layer = values["s"].producer()
    assert {value.dtype for value in layer.inputs if value is not None} == {FLOAT}
    assert layer.inputs[1].name == "gru_w.float"


def test_an_operator_that_tensorrt_refuses_in_bfloat16() -> None:
    nodes = [
        ("Reshape", "x four", "a"),
        ("ConvTranspose", "a kernel", "b"),
        ("Reshape", "b two", "h"),
    ]
    kernel = NUMBERS[np.arange(16) % 8].reshape(4, 4, 1, 1)
    constants = {"four": [-1, 4, 1, 1], "two": [-1, 4], "kernel": kernel}
    for dtype, expected in (("float16", HALF), ("bfloat16", FLOAT)):
        _, values = cast([*nodes, HEAD], dtype=dtype, **constants)
        assert values["b"].dtype == expected


def test_casts_are_few() -> None:
    """A value is cast once for each type, from its first type; constants have no Cast."""
    nodes = [A, ("MatMul", "x r", "b"), ("Mul", "a two", "c")]
    nodes += [("Softmax", "c", "d"), ("Exp", "c", "e"), ("Add", "d e", "f"), ("MatMul", "f w", "g")]
    nodes += [("Add", "g b", "h"), HEAD]
    model, _ = cast(nodes, two=2.0)
    made = [node.outputs[0].name for node in model.graph if node.op_type == "Cast"]
    assert made == ["x.float16", "c.float", "f.float16", "h.float"]
    assert "two.float16" in model.graph.initializers
    assert "r.float" in model.graph.initializers, "a small weight is widened in the graph"


def test_numbers() -> None:
    """A cast graph computes the original graph's result up to rounding."""
    nodes = [A, ("Tanh", "a", "h"), HEAD]
    model, _ = cast(nodes)
    x = np.random.default_rng(1).normal(size=(5, 4)).astype(np.float32)
    given = {"x": x, "noise": x, "tokens": np.zeros(5, np.int64), "cache": x.astype(np.float16)}
    (got,) = ort.InferenceSession(to_bytes(model)).run(["y"], given)
    w = TABLE.ravel()[np.arange(16) % 12].reshape(4, 4).astype(np.float16).astype(np.float64)
    exact = np.tanh(x.astype(np.float64) @ w) @ w
    assert got.dtype == np.float32
    assert 0 < np.abs(got - exact).max() < 4 * 2.0**-10 * np.abs(w).sum(axis=0).max()


def test_a_large_weight() -> None:
    """A large weight is converted when it is read, and widened by a node of the graph."""
    w = np.random.default_rng(2).normal(size=(200, 200)).astype(np.float32)
    assert w.nbytes > INLINE
    rows = ("b", 200)
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w"], ["h"]), helper.make_node("Gemm", ["h", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", FLOAT, rows)],
        [helper.make_tensor_value_info("y", FLOAT, rows)],
        initializer=[helper.make_tensor("w", FLOAT, w.shape, w.ravel())],
        value_info=[helper.make_tensor_value_info("h", FLOAT, rows)],
    )
    model = onnx_ir.from_proto(helper.make_model(graph, ir_version=10))
    spec = TensorSpec(name="x", dtype="float32", axes=rows)
    signature = GraphSignature(inputs=(spec,), outputs=(spec.model_copy(update={"name": "y"}),))
    slots = {"w": Slot(HALF, w.shape, 0, w.nbytes // 2)}
    narrow(model, signature, "float16", slots, NUMBERS)
    stored = model.graph.initializers["w"].const_value
    assert isinstance(stored, onnx_ir.LazyTensor)
    assert np.array_equal(stored.numpy(), w.astype(np.float16))
    made = {node.outputs[0].name: node.op_type for node in model.graph}
    assert made == dict.fromkeys(("x.float16", "h.float", "w.float"), "Cast") | {
        "h": "Gemm",
        "y": "Gemm",
    }


@pytest.mark.parametrize("toy", ["llama", "pixelcnn", "codes"])
def test_our_graphs(bundles: Callable[..., Path], toy: str) -> None:
    """Most products of our graphs are in 16 bits; at most a few are in float32."""
    opened = Bundle.open(bundles(toy, "bfloat16"))
    for name, entry in opened.manifest.graphs.items():
        assert "onnxruntime" not in entry.files
        nodes = list(onnx_ir.load(opened.path / entry.files["portable"]).graph)
        products = [node.outputs[0].dtype for node in nodes if node.op_type in PRODUCTS]
        wide = products.count(FLOAT)
        # The head; in `codes` also the transposed convolution and the distances to the codebook.
        assert wide <= (3 if toy == "codes" else 1), name
        assert len(products) >= 5 + wide, name
