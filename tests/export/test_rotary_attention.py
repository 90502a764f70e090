"""Rotations inside GroupQueryAttention: the same keys and probabilities, and only where it fits."""

import copy
from typing import Any

import numpy as np
import onnx
import onnx_ir
import pytest
import torch

from ancestral import parity
from ancestral.export import graphs
from ancestral.export.lint import lint
from ancestral.export.passes.rotary_attention import rotate_inside
from tests.export.test_packed_attention import DATA, attentions, inputs_of, program_of, session

pytestmark = pytest.mark.slow

ROTARY = {"positions": "rotary", "width": 64}
INSIDE = {
    "grouped": {"heads": 4, "kv_heads": 2},
}
MORE_INSIDE = {
    "normalised heads": {"head_norms": True},
    "whole heads": {},
    "some features": {"rotary_width": 16},
    "no start": {"start": None},
    "windows": {"window": 3, "windowed": (0,)},
    "scaled": {"rotary_scaling": (4.0,), "rotary_base": 5e5, "norm": "rms", "bias": ()},
}
"""More cases, which are slow: each exports a step twice."""
OUTSIDE = {"small heads": {"heads": 8}, "few features": {"rotary_width": 8}}
TABLE = parity.tolerance("onnxruntime", "float32")


def long(program: Any) -> onnx_ir.Model:
    """Return the step graph with the rotations as the exporter writes them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(graphs, "rotate_inside", lambda graph: None)
        return graphs.export_graph(program)["onnxruntime"]


@torch.no_grad()
@pytest.mark.parametrize(
    "config",
    [
        *(pytest.param(config, id=name) for name, config in INSIDE.items()),
        *(
            pytest.param(config, id=name, marks=pytest.mark.slow)
            for name, config in MORE_INSIDE.items()
        ),
    ],
)
def test_same_numbers(config: dict[str, Any]) -> None:
    """Values, log p and caches are those of the rotations node by node, in steps and in blocks."""
    program = program_of(ROTARY | config)
    short = graphs.export_graph(program)["onnxruntime"]
    assert all(node.attributes.get_int("do_rotary", 0) == 1 for node in attentions(short))
    packed = [node.inputs[1] is None for node in attentions(short)]
    assert packed == ["head_norms" not in config] * 2
    assert not any(node.op_type == "Split" for node in short.graph) or "head_norms" in config
    assert lint(short, "onnxruntime", program.signature) == []
    ours, theirs = session(short), session(long(program))
    wide = copy.deepcopy(program).double()
    first = 1 if "start" in config else 0
    for rows, block, position in ((3, 1, [first, 4, 12]), (2, 4, [first] * 2), (1, 3, [5])):
        given = inputs_of(program, rows, block, position)
        tensors = {name: torch.from_numpy(array) for name, array in given.items()}
        inputs = [tensors[spec.name] for spec in program.signature.inputs]
        caches = {name: tensors[name].double() for name in program.cache_names}
        exact = wide(*((tensors | caches)[spec.name] for spec in program.signature.inputs))
        results = ours.run(None, given), theirs.run(None, given), program(*inputs), exact
        for spec, a, b, own, reference in zip(program.signature.outputs, *results, strict=True):
            if spec.dtype == "int64":
                assert np.array_equal(a, b), spec.name
                continue
            # Slots of a cache that a row has not reached may hold any numbers.
            reached = np.minimum(np.array(position) - first + block, DATA.length - first)
            for row, end in enumerate(reached if spec.name.startswith(("k", "v")) else ()):
                a[row, :, end:] = reference[row, :, end:]
            error = (own - reference).abs().max().item()
            limit = TABLE.factor * error + TABLE.nats_per_position
            assert np.abs(a - reference.numpy()).max() <= limit, spec.name


@pytest.mark.slow
@pytest.mark.parametrize("config", OUTSIDE.values(), ids=OUTSIDE)
def test_sizes_that_do_not_fit(config: dict[str, Any]) -> None:
    """ONNX Runtime refuses other sizes of heads and features, so the nodes stay, and run."""
    program = program_of(ROTARY | {"layers": 1} | config)
    model = graphs.export_graph(program)["onnxruntime"]
    assert not any("do_rotary" in node.attributes for node in attentions(model))
    session(model).run(None, inputs_of(program, 2, 1, [0, 4]))


@pytest.fixture(scope="module")
def written() -> onnx.ModelProto:
    """Return a step graph with the rotations as the exporter writes them."""
    return onnx_ir.to_proto(long(program_of(ROTARY | {"layers": 1})))


@pytest.mark.parametrize("fault", ["sign", "other halves", "other slots", "other table", "scaled"])
def test_planted(fault: str, written: onnx.ModelProto) -> None:
    """Nodes that differ from a rotation in one place are not changed."""
    model = onnx_ir.from_proto(written)
    graph = model.graph
    turned = next(node for node in graph if node.op_type == "Sub" and _multiplies(node))
    first, second = (value.producer() for value in turned.inputs)
    match fault:
        case "sign":
            turned.replace_input_with(0, second.outputs[0])
            turned.replace_input_with(1, first.outputs[0])
        case "other halves":
            halves = first.inputs[0].producer()
            first.replace_input_with(0, halves.outputs[1])
            second.replace_input_with(0, halves.outputs[0])
        case "other slots":
            offsets = next(value for value in graph.inputs if value.name == "offsets")
            slots = next(n for n in graph if n.op_type == "Add" and n.inputs[1] is offsets)
            slots.replace_input_with(1, next(v for v in graph.inputs if v.name == "label"))
        case "other table":
            gather = first.inputs[1].producer().inputs[0].producer()
            gather.replace_input_with(0, next(v for v in graph.inputs if v.name == "u"))
        case _:
            scale = onnx_ir.Value(name="two", const_value=onnx_ir.tensor(np.float32(2), name="two"))
            graph.initializers.add(scale)
            first.replace_input_with(1, scale)
    before = [node.op_type for node in graph]
    rotate_inside(graph)
    assert [node.op_type for node in graph] == before
    assert not any("do_rotary" in node.attributes for node in attentions(model))


def _multiplies(node: onnx_ir.Node) -> bool:
    """Return whether both operands of a node are products."""
    makers = [value.producer() if value is not None else None for value in node.inputs]
    return all(maker is not None and maker.op_type == "Mul" for maker in makers)
