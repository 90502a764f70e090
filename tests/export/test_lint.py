"""The lint finds each node that a runtime drops, misreads or refuses, and nothing in our graphs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
from onnx import TensorProto, helper

from ancestral.bundles.bundle import Bundle
from ancestral.export.lint import lint
from ancestral.export.operators import FORMS, Form
from ancestral.signature import Carried, GraphSignature, TensorSpec, Update

FLOAT = TensorProto.FLOAT
NOTHING = GraphSignature(inputs=(), outputs=())


def model(
    *nodes: onnx.NodeProto, cache: tuple[int | str, ...] = ("b", 2, 7, 8), outputs: tuple = ("out",)
) -> onnx_ir.Model:
    inputs = {
        "q": ("b", 2, "s", 8),
        "k": ("b", 2, "s", 8),
        "v": ("b", 2, "s", 8),
        "cache": cache,
        "mask": ("b", 1, "s", 7),
    }
    values = [helper.make_tensor_value_info(name, FLOAT, axes) for name, axes in inputs.items()]
    values += [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["b"]) for name in ("at", "n")
    ]
    graph = helper.make_graph(
        list(nodes),
        "g",
        values,
        [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs],
        initializer=[helper.make_tensor("k5000", TensorProto.INT64, [1], [5000])],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)])
    return onnx_ir.from_proto(made)


def node(op_type: str, inputs: str, outputs: str = "out", **attributes: object) -> onnx.NodeProto:
    names = ["" if name == "-" else name for name in inputs.split()]
    return helper.make_node(op_type, names, outputs.split(), **attributes)


SCATTER = node("TensorScatter", "cache k at", "next", axis=-2)
SOUND = (SCATTER, node("Attention", "q next v mask"))
PLANTED = {
    "nonpad": (model(node("Attention", "q k v mask - - n")), "ignores nonpad_kv_seqlen"),
    "past": (model(node("Attention", "q k v mask cache cache")), "refuses past and present"),
    "present": (model(node("Attention", "q k v", "out pk pv")), "refuses past and present"),
    "causal": (
        model(SCATTER, node("Attention", "q next v", is_causal=1), outputs=("out", "next")),
        "aligns is_causal to the upper left",
    ),
    "softcap": (model(node("Attention", "q k v mask", softcap=5.0)), "softcap"),
    "precision": (model(node("Attention", "q k v mask", softmax_precision=1)), "softmax_precision"),
    "marked": (model(node("Attention", "q k v mask", TRT_decomposable=1)), "TRT_decomposable is s"),
    "3-D": (model(SCATTER, cache=("b", 7, 8), outputs=("next",)), "4-D caches only"),
    "length": (
        model(SCATTER, cache=("b", 2, "t", 8), outputs=("next",)),
        "a cache of fixed length",
    ),
    "axis": (
        model(node("TensorScatter", "cache k at", "next", axis=2), outputs=("next",)),
        "expected axis -2",
    ),
    "circular": (
        model(node("TensorScatter", "cache k at", "next", mode="circular"), outputs=("next",)),
        "mode circular",
    ),
    "between": (
        model(SCATTER, node("Identity", "next"), outputs=("out",)),
        "from a graph input to a graph output",
    ),
    "top k": (model(node("TopK", "q k5000", "out i")), "supports a constant k up to 3840"),
    "random": (model(node("RandomNormalLike", "q")), "noise inside a graph"),
    "multinomial": (model(node("Multinomial", "q")), "noise inside a graph"),
    "unique": (model(node("Unique", "q")), "TensorRT cannot build it"),
    "domain": (model(node("Gelu", "q", domain="com.microsoft")), "standard operators only"),
}


@pytest.mark.parametrize("fault", PLANTED)
def test_found(fault: str) -> None:
    graph, message = PLANTED[fault]
    problems = lint(graph, "portable", NOTHING)
    assert any(message in problem for problem in problems), problems


def test_sound() -> None:
    assert lint(model(*SOUND, outputs=("out", "next")), "portable", NOTHING) == []


def test_marks_of_tensorrt() -> None:
    """An Attention without its mark is reported in TensorRT's form."""
    unmarked = model(*SOUND, outputs=("out", "next"))
    assert any(
        "TRT_decomposable is missing" in each for each in lint(unmarked, "tensorrt", NOTHING)
    )


def test_forms_of_onnxruntime() -> None:
    assert lint(model(node("Gelu", "q", domain="com.microsoft")), "onnxruntime", NOTHING) == []
    assert lint(model(node("Gelu", "q", domain="elsewhere")), "onnxruntime", NOTHING)
    assert lint(model(node("RandomNormalLike", "q")), "onnxruntime", NOTHING)


APPENDED = GraphSignature(
    inputs=(TensorSpec(name="cache", dtype="float32", axes=("b", 2, 7, 8)),),
    outputs=(TensorSpec(name="next", dtype="float32", axes=("b", 2, 7, 8)),),
    carried=(Carried(input="cache", output="next", update=Update.APPEND),),
)


@pytest.mark.parametrize(
    ("nodes", "sound"),
    [
        ((SCATTER,), True),
        ((node("Identity", "cache", "next"),), False),
        ((node("Add", "cache cache", "next"),), False),
        ((node("TensorScatter", "q k at", "next", axis=-2),), False),
    ],
    ids=["scatter", "copy", "sum", "another cache"],
)
@pytest.mark.parametrize("form", ["portable", "onnxruntime"])
def test_declared_append(nodes: tuple[onnx.NodeProto, ...], sound: bool, form: Form) -> None:
    """A pair that is declared as appended may only be made by an append."""
    problems = lint(model(*nodes, outputs=("next",)), form, APPENDED)
    assert any("declared as an append to cache" in each for each in problems) is not sound


HALF, BF16 = TensorProto.FLOAT16, TensorProto.BFLOAT16


def narrow_model(
    *nodes: onnx.NodeProto, types: dict[str, int], result: int = FLOAT
) -> tuple[onnx_ir.Model, GraphSignature]:
    """Return a graph of x in float32, h in 16 bits, and weights; `types` are those of values."""
    kind = next((each for each in types.values() if each != FLOAT), HALF)
    graph = helper.make_graph(
        list(nodes),
        "g",
        [
            helper.make_tensor_value_info("x", FLOAT, ["b", 4]),
            helper.make_tensor_value_info("h", kind, ["b", 4]),
        ],
        [helper.make_tensor_value_info("out", result, ["b", 4])],
        initializer=[
            helper.make_tensor("wide", FLOAT, [4, 4], [0.5] * 16),
            helper.make_tensor("narrow", kind, [4, 4], [0.5] * 16),
            helper.make_tensor("kernel", kind, [4, 4, 1, 1], [0.5] * 16),
            helper.make_tensor("mask", kind, [2], [0.0, -np.inf]),
        ],
        value_info=[
            helper.make_tensor_value_info(name, each, None) for name, each in types.items()
        ],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 24)])
    out = TensorSpec(name="out", dtype="float32" if result == FLOAT else "float16", axes=("b", 4))
    return onnx_ir.from_proto(made), GraphSignature(inputs=(), outputs=(out,))


WIDEN = node("Cast", "a", "c", to=FLOAT)
HEAD = node("MatMul", "c wide")
PLANTED_IN_16_BITS = {
    "mixed types": (
        narrow_model(node("MatMul", "x narrow", "a"), WIDEN, HEAD, types={"a": HALF, "c": FLOAT}),
        "MatMul: operands in float and float16; TensorRT refuses mixed types",
    ),
    "mixed in a sum": (
        narrow_model(node("Add", "x h", "a"), HEAD, types={"a": FLOAT, "c": FLOAT}),
        "Add: operands in float and float16",
    ),
    "a last projection": (
        narrow_model(
            node("MatMul", "h narrow", "a"), node("Cast", "a", to=FLOAT), types={"a": HALF}
        ),
        "the last projection: expected float32, got float16",
    ),
    "after the last projection": (
        narrow_model(
            node("MatMul", "x wide", "b"),
            node("Cast", "b", "a", to=HALF),
            node("Sub", "a a", "d"),
            node("Cast", "d", to=FLOAT),
            types={"b": FLOAT, "a": HALF, "d": HALF},
        ),
        "Sub after the last projection: expected float32, got float16",
    ),
    "a softmax": (
        narrow_model(node("Softmax", "h", "a"), WIDEN, HEAD, types={"a": HALF, "c": FLOAT}),
        "Softmax: expected float32, got float16",
    ),
    "a recurrent layer": (
        narrow_model(
            node("GRU", "h narrow narrow", "a"), WIDEN, HEAD, types={"a": HALF, "c": FLOAT}
        ),
        "GRU: expected float32, got float16",
    ),
    "a transposed convolution": (
        narrow_model(
            node("ConvTranspose", "h kernel", "a"), WIDEN, HEAD, types={"a": BF16, "c": FLOAT}
        ),
        "ConvTranspose is in bfloat16; TensorRT cannot build it",
    ),
    "an infinite mask": (
        narrow_model(node("Add", "h mask", "a"), WIDEN, HEAD, types={"a": HALF, "c": FLOAT}),
        "mask: a constant is not finite in float16",
    ),
    "a result": (
        narrow_model(node("Relu", "h"), types={"out": HALF}, result=HALF),
        "out: expected float32 for log-probabilities and draws, got 16 bits",
    ),
}


@pytest.mark.parametrize("fault", PLANTED_IN_16_BITS)
def test_found_in_16_bits(fault: str) -> None:
    (graph, signature), message = PLANTED_IN_16_BITS[fault]
    problems = lint(graph, "portable", signature)
    assert any(message in problem for problem in problems), problems


def test_sound_in_16_bits() -> None:
    """Products in 16 bits are sound if the last one is in float32, with a widened weight."""
    graph, signature = narrow_model(
        node("Cast", "x", "b", to=HALF),
        node("MatMul", "b narrow", "d"),
        node("Add", "d h", "a"),
        WIDEN,
        node("Cast", "narrow", "w", to=FLOAT),
        node("MatMul", "c w"),
        types={"b": HALF, "d": HALF, "a": HALF, "c": FLOAT, "w": FLOAT},
    )
    del graph.graph.initializers["mask"]
    assert lint(graph, "portable", signature) == []


def test_our_graphs(bundles: Callable[[str], Path], toy: str) -> None:
    bundle = Bundle.open(bundles(toy))
    for entry in bundle.manifest.graphs.values():
        for form, name in entry.files.items():
            assert form in FORMS
            assert lint(onnx_ir.load(bundle.path / name), form, entry.signature) == [], name
