"""Packed queries, keys and values: fewer nodes, the same bits; never over changed parts."""

from typing import Any

import numpy as np
import onnx_ir
import onnxruntime as ort
import pytest
import torch

from ancestral.dataspec import DataSpec
from ancestral.export.graphs import export_graph
from ancestral.export.passes.packed_attention import pack
from ancestral.train.models.families import build_model
from ancestral.train.models.graphs import build
from ancestral.train.models.program import Program
from ancestral.train.models.transformer_config import TransformerConfig
from tests.toys import widen

pytestmark = pytest.mark.slow

DATA = DataSpec(name="images", event_shape=(3, 4), levels=5, num_classes=2)
WINDOWS = {"window": 3, "windowed": (0,)}
PACKED = {
    "above": {"above": True},
    "grouped": {"heads": 4, "kv_heads": 2, "head_width": 8},
}
MORE_PACKED = {
    "plain": {},
    "one group": {"heads": 3, "kv_heads": 1, "head_width": 8, "bias": ("out",)},
    "windows": {"heads": 4, "kv_heads": 2, "head_width": 8, **WINDOWS},
    "parallel": {"parallel": True, "norm": "rms", "bias": ()},
}
"""More cases, which are slow: each exports and runs a step."""
KEPT = {
    "normalised heads": {"head_norms": True},
    "rotary": {"positions": "rotary"},
    "partly rotary": {"positions": "rotary", "rotary_width": 4},
}


def program_of(config: dict[str, Any]) -> Program:
    torch.manual_seed(3)
    shape = {"width": 16, "layers": 2, "heads": 2, "hidden": 24} | config
    return build("step", widen(build_model(TransformerConfig(**shape), DATA)).eval())


def attentions(model: onnx_ir.Model) -> list[onnx_ir.Node]:
    return [node for node in model.graph if node.op_type == "GroupQueryAttention"]


def split_again(model: onnx_ir.Model) -> onnx_ir.Model:
    """Return a copy in which a Split makes the three inputs of every attention."""
    copy = model.clone()
    for i, node in enumerate(attentions(copy)):
        heads, groups = (node.attributes[name].as_int() for name in ("num_heads", "kv_num_heads"))
        whole = node.inputs[0]
        assert whole is not None
        assert node.inputs[3] is not None
        head = int(node.inputs[3].shape[3])
        widths = onnx_ir.tensor(np.array([heads, groups, groups]) * head, name=f"widths_{i}")
        sizes = onnx_ir.Value(name=f"widths_{i}", const_value=widths)
        copy.graph.initializers.add(sizes)
        split = onnx_ir.Node(
            "", "Split", [whole, sizes], [onnx_ir.AttrInt64("axis", -1)], num_outputs=3
        )
        for part, name in zip(split.outputs, "qkv", strict=True):
            part.name = f"{name}_part_{i}"
        copy.graph.insert_before(node, split)
        for j, part in enumerate(split.outputs):
            node.replace_input_with(j, part)
    return copy


def session(model: onnx_ir.Model) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    content = onnx_ir.to_proto(model).SerializeToString()
    return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def inputs_of(program: Program, rows: int, block: int, position: list[int]) -> dict[str, Any]:
    random = np.random.default_rng(rows + block)
    t, given = DATA.length, {}
    for spec in program.signature.inputs:
        shape = spec.shape({"b": rows, "s": block})
        given[spec.name] = (
            random.normal(size=shape).astype(np.float32)
            if spec.dtype == "float32"
            else random.integers(0, DATA.num_classes or 1, shape)
        )
    free = np.full((rows, t), -1)
    free[:, : block - 1] = given["values"][:, : block - 1]
    drawn = {"u": random.random((rows, t)).astype(np.float32), "observed": free}
    at = {"position": np.array(position), "offsets": np.arange(block)}
    warm = {"temperature": random.uniform(0.5, 1.5, rows).astype(np.float32)}
    return given | drawn | at | (warm if "temperature" in given else {})


@pytest.mark.parametrize(
    "config",
    [
        *(pytest.param(config, id=name) for name, config in PACKED.items()),
        *(
            pytest.param(config, id=name, marks=pytest.mark.slow)
            for name, config in MORE_PACKED.items()
        ),
    ],
)
def test_same_bits(config: dict[str, Any]) -> None:
    """A packed graph gives every output of a split one, to the bit, in steps and in blocks."""
    program = program_of(config)
    packed = export_graph(program)["onnxruntime"]
    assert [node.inputs[1:3] for node in attentions(packed)] == [(None, None)] * 2
    assert not any(node.op_type == "Split" for node in packed.graph)
    ours, theirs = session(packed), session(split_again(packed))
    for rows, block, position in ((3, 1, [0, 4, 12]), (2, 4, [0, 0]), (1, 3, [5]), (1, 1, [11])):
        given = inputs_of(program, rows, block, position)
        for name, a, b in zip(
            (spec.name for spec in program.signature.outputs),
            ours.run(None, given),
            theirs.run(None, given),
            strict=True,
        ):
            assert np.array_equal(a, b, equal_nan=True), name


@pytest.mark.parametrize("config", KEPT.values(), ids=KEPT)
def test_changed_parts_stay(config: dict[str, Any]) -> None:
    """Normalised or rotated parts are not those of the product, so nothing is packed."""
    for node in attentions(export_graph(program_of({"layers": 1} | config))["onnxruntime"]):
        assert all(value is not None for value in node.inputs[:3])


@pytest.fixture(scope="module")
def forms() -> dict[str, onnx_ir.Model]:
    """Return a packed step graph in every form; tests must not change them."""
    return export_graph(program_of({}))


def test_other_forms_stay(forms: dict[str, onnx_ir.Model]) -> None:
    """Only ONNX Runtime's own operator takes the product; the other forms split it."""
    for form in ("portable", "tensorrt"):
        assert [node.op_type for node in forms[form].graph].count("Split") == 2


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1), (0, 1, 1)])
def test_order_planted(order: tuple[int, int, int], forms: dict[str, onnx_ir.Model]) -> None:
    """An attention that reads the parts in another order is not changed."""
    model = split_again(forms["onnxruntime"])
    for node in attentions(model):
        parts = node.inputs[:3]
        for i, j in enumerate(order):
            node.replace_input_with(i, parts[j])
    pack(model.graph)
    assert all(node.inputs[1] is not None for node in attentions(model))


def test_split_along_another_axis(forms: dict[str, onnx_ir.Model]) -> None:
    """An attention that reads a split of the positions is not changed."""
    model = split_again(forms["onnxruntime"])
    for node in model.graph:
        if node.op_type == "Split":
            node.attributes.add(onnx_ir.AttrInt64("axis", 1))
    pack(model.graph)
    assert all(node.inputs[1] is not None for node in attentions(model))


def test_split_with_another_reader(forms: dict[str, onnx_ir.Model]) -> None:
    """A split that another node reads stays in the graph, next to the packed attention."""
    model = split_again(forms["onnxruntime"])
    split = next(node for node in model.graph if node.op_type == "Split")
    model.graph.outputs.append(split.outputs[1])
    pack(model.graph)
    assert all(node.inputs[1] is None for node in attentions(model))
    assert [node.op_type for node in model.graph].count("Split") == 1
