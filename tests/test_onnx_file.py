"""External data is found without the onnx package, wherever in the file it stands."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ancestral.errors import BundleError
from ancestral.onnx_file import external_locations


def tensor(name: str, location: str | None = None) -> TensorProto:
    value = helper.make_tensor(name, TensorProto.FLOAT, [2], [1.0, 2.0])
    if location is not None:
        value.data_location = TensorProto.EXTERNAL
        value.ClearField("float_data")
        for key, text in (("offset", "0"), ("location", location), ("length", "8")):
            value.external_data.add(key=key, value=text)
    return value


def graph(name: str, *tensors: TensorProto, nodes: tuple = ()) -> onnx.GraphProto:
    return helper.make_graph(list(nodes), name, [], [], initializer=list(tensors))


def model(where: str) -> bytes:
    """A model that points at "elsewhere" from one place."""
    outside = tensor("t", "elsewhere")
    match where:
        case "initializer":
            top = graph("g", tensor("a"), outside, tensor("b", "weights"))
        case "attribute":
            node = helper.make_node("Constant", [], ["c"], value=outside)
            top = graph("g", tensor("b", "weights"), nodes=(node,))
        case "subgraph":
            branch = graph("then", outside)
            node = helper.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
            top = graph("g", tensor("b", "weights"), nodes=(node,))
        case "subgraph in a list":
            node = helper.make_node("Many", ["c"], ["y"])
            attribute = node.attribute.add(name="branches", type=onnx.AttributeProto.GRAPHS)
            attribute.graphs.append(graph("one", outside))
            top = graph("g", tensor("b", "weights"), nodes=(node,))
        case "tensor in a list":
            node = helper.make_node("Many", ["c"], ["y"])
            attribute = node.attribute.add(name="values", type=onnx.AttributeProto.TENSORS)
            attribute.tensors.append(outside)
            top = graph("g", tensor("b", "weights"), nodes=(node,))
        case "sparse":
            top = graph("g", tensor("b", "weights"))
            top.sparse_initializer.add().values.CopyFrom(outside)
        case "function":
            node = helper.make_node("Constant", [], ["c"], value=outside)
            top = graph("g", tensor("b", "weights"))
            made = helper.make_model(top)
            opset = [helper.make_opsetid("", 24)]
            made.functions.append(helper.make_function("d", "f", [], ["c"], [node], opset))
            return made.SerializeToString()
    return helper.make_model(top).SerializeToString()


@pytest.mark.parametrize(
    "where",
    ["initializer", "attribute", "subgraph", "subgraph in a list", "tensor in a list", "sparse",
     "function"],
)  # fmt: skip
def test_found(where: str) -> None:
    assert external_locations(model(where)) == {"weights", "elsewhere"}


def test_none() -> None:
    made = helper.make_model(graph("g", tensor("a")))
    assert external_locations(made.SerializeToString()) == set()


def test_last_of_two_values() -> None:
    """Protobuf takes the last of a field that stands twice; so must whoever looks for it."""
    entry = b"\x0a\x08location\x12\x07weights\x12\x09elsewhere"
    wrapped = bytes([13 << 3 | 2, len(entry)]) + entry  # TensorProto.external_data
    assert TensorProto.FromString(wrapped).external_data[0].value == "elsewhere"
    in_graph = bytes([5 << 3 | 2, len(wrapped)]) + wrapped
    assert external_locations(bytes([7 << 3 | 2, len(in_graph)]) + in_graph) == {"elsewhere"}


def test_as_onnx_reads_it(tiny_bundle: Path) -> None:
    for file in (tiny_bundle / "graphs").glob("*.onnx"):
        read = onnx.load(file, load_external_data=False)
        expected = {
            entry.value
            for each in read.graph.initializer
            for entry in each.external_data
            if entry.key == "location"
        }
        assert external_locations(file.read_bytes()) == expected == {"weights.safetensors"}


@pytest.mark.parametrize("cut", [1, 7, 100])
def test_truncated(tiny_bundle: Path, cut: int) -> None:
    data = (tiny_bundle / "graphs" / "step.onnx").read_bytes()
    with pytest.raises(BundleError, match="no ONNX file"):
        external_locations(data[:-cut])


def test_foreign() -> None:
    """Bytes that are no protobuf message end in a clear error, never in another one."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        try:
            external_locations(rng.bytes(60))
        except BundleError:
            refused += 1
    assert refused > 150
