"""The weights file holds every distinct tensor once, and the graphs point into it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import onnxruntime as ort
import pytest
import torch

from ancestral.errors import ExportError
from ancestral.export.weights import (
    INLINE,
    PREFIX,
    SMALL,
    Slot,
    point_into,
    split_shared_tables,
    to_bytes,
    weights_file,
)
from tests.toys import TOYS, make
from tests.triton_kernels.single import ROUNDING

Bundles = Callable[[str], Path]


@pytest.mark.parametrize("toy", TOYS)
def test_every_tensor_once(toy: str) -> None:
    """As many bytes as the distinct parameters and buffers have; a tied one is not there twice."""
    model = make(toy)
    file = weights_file(model)
    data = file.content
    header = int.from_bytes(data[:8], "little")
    distinct = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size()
        for tensor in [*model.parameters(), *model.buffers()]
    }
    assert len(data) - 8 - header == sum(distinct.values())
    assert len({slot.offset for slot in file.slots.values()}) == len(distinct)


def test_shared_tensor() -> None:
    """One tensor under two names stands in the file once, and both lead to it."""
    model = torch.nn.Sequential(torch.nn.Linear(30, 30), torch.nn.Linear(30, 30))
    apart = weights_file(model)
    model[1].weight = model[0].weight
    shared = weights_file(model)
    assert len(apart.content) - len(shared.content) >= 30 * 30 * 4
    assert shared.slots["0.weight"] == shared.slots["1.weight"]
    assert apart.slots["0.weight"] != apart.slots["1.weight"]


@pytest.mark.parametrize("toy", TOYS)
def test_graphs_point_at_the_right_bytes(bundles: Bundles, toy: str) -> None:
    """Offset and length of each external tensor lead to the model's own numbers."""
    folder = bundles(toy) / "graphs"
    data = (folder / "weights.safetensors").read_bytes()
    state = make(toy).state_dict()
    pointed = set()
    for file in folder.glob("*.onnx"):
        for tensor in onnx.load(file, load_external_data=False).graph.initializer:
            if not tensor.external_data:
                continue
            where = {entry.key: entry.value for entry in tensor.external_data}
            start, size = int(where["offset"]), int(where["length"])
            name = tensor.name.removeprefix(PREFIX)
            got = np.frombuffer(data[start : start + size], np.float32).reshape(tensor.dims)
            assert np.array_equal(got, state[name].numpy()), f"{file.name}: {name}"
            pointed.add(name)
    assert len(pointed) >= 3, "the toys are large enough to be stored outside"


@pytest.mark.parametrize("toy", TOYS)
def test_no_weight_in_a_graph(bundles: Bundles, toy: str) -> None:
    """Only what is small stays inside: no initializer of a weight's size."""
    for file in (bundles(toy) / "graphs").glob("*.onnx"):
        for tensor in onnx.load(file, load_external_data=False).graph.initializer:
            if not tensor.external_data:
                assert tensor.ByteSize() <= SMALL + 200, f"{file.name}: {tensor.name}"


@pytest.mark.parametrize("toy", TOYS)
def test_no_paths_of_the_machine(bundles: Bundles, toy: str) -> None:
    """Neither source lines nor folders of whoever exported."""
    here = str(Path(__file__).parent.parent.parent)
    for file in bundles(toy).rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert here.encode() not in data, file.name
            assert not re.search(rb"/(home|root|tmp|usr|work)/|\.py\b|site-packages", data), file


def graph(*names: str, elements: int = 4) -> onnx_ir.Graph:
    tensors = [
        onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [elements], [0.0] * elements)
        for name in names
    ]
    made = onnx.helper.make_graph([], "g", [], [], initializer=tensors)
    return onnx_ir.from_proto(onnx.helper.make_model(made)).graph


def test_folded_weight_is_refused() -> None:
    """A large constant that is no weight would be stored once a graph."""
    with pytest.raises(ExportError, match="folded a computation on a weight"):
        point_into(graph("folded", elements=INLINE // 4 + 1), {}, "weights")
    point_into(graph("small"), {}, "weights")


def test_other_shape_is_refused() -> None:
    weights = weights_file(torch.nn.Linear(4, 3)).slots
    with pytest.raises(ExportError, match="expected Slot"):
        point_into(graph(f"{PREFIX}weight"), weights, "weights")


def test_other_type_is_refused() -> None:
    with pytest.raises(ExportError, match=r"weight: expected one of .* got F64: convert"):
        weights_file(torch.nn.Linear(4, 3).double())


def test_manifest_tells_the_parameters(bundles: Bundles) -> None:
    manifest = json.loads((bundles("llama") / "manifest.json").read_bytes())
    count = sum(parameter.numel() for parameter in make("llama").parameters())
    assert manifest["components"]["model"]["parameters"] == count


def tied(rows: int, width: int, folder: Path) -> onnx_ir.Model:
    """A table that is looked up and multiplied with, as external data behind 40 other bytes."""
    values = np.random.default_rng(0).normal(size=(rows, width)).astype(np.float32)
    (folder / "weights").write_bytes(bytes(40) + values.tobytes())
    make = onnx.helper
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    graph = make.make_graph(
        [
            make.make_node("Gather", ["table", "token"], ["h"]),
            make.make_node("Gemm", ["h", "table"], ["head"], name="head", transB=1),
            make.make_node("Identity", ["head"], ["logits"]),
        ],
        "tied",
        [make.make_tensor_value_info("token", integers, ["b"])],
        [make.make_tensor_value_info("logits", floats, ["b", rows])],
        initializer=[make.make_tensor("table", floats, [rows, width], values.tobytes(), raw=True)],
    )
    opsets = [make.make_opsetid("", 24)]
    model = onnx_ir.from_proto(make.make_model(graph, ir_version=10, opset_imports=opsets))
    slot = Slot(onnx_ir.DataType.FLOAT, (rows, width), 40, values.nbytes)
    point_into(model.graph, {"table": slot}, "weights")
    return model


@pytest.mark.parametrize(
    ("most", "pieces"), [(4 * 30 * 100, 1), (4 * 30 * 99, 2), (4 * 30 * 7, 15)]
)
def test_a_tied_table_goes_into_products_in_pieces(tmp_path: Path, most: int, pieces: int) -> None:
    """Of at most so many bytes; ONNX Runtime gives the logits of the whole table."""
    model = tied(100, 30, tmp_path)
    (tmp_path / "whole.onnx").write_bytes(to_bytes(model))
    split_shared_tables(model.graph, most)
    heads = [node for node in model.graph if node.op_type == "Gemm"]
    assert len(heads) == pieces
    assert all(node.inputs[1].const_value.nbytes <= most for node in heads)
    (tmp_path / "pieces.onnx").write_bytes(to_bytes(model))
    token = {"token": np.arange(100)}
    whole, split = (
        ort.InferenceSession(tmp_path / f"{name}.onnx").run(["logits"], token)[0]
        for name in ("whole", "pieces")
    )
    assert whole.shape == (100, 100)
    # The same products of 30 terms, perhaps summed in another order.
    assert np.abs(whole - split).max() < ROUNDING * np.abs(whole).max()


def test_an_untied_head_stays_whole(tmp_path: Path) -> None:
    model = tied(100, 30, tmp_path)
    model.graph[0].replace_input_with(0, model.graph.inputs[0])
    split_shared_tables(model.graph, 1000)
    assert len(model.graph) == 3
