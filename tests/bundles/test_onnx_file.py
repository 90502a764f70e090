"""References to external data are found without the onnx package, wherever they are in a file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ancestral.bundles.onnx_file import External, Value, read_onnx
from ancestral.errors import BundleError
from ancestral.limits import GRAPH_DEPTH


def external_locations(data: bytes) -> set[str]:
    return {external.location for external in read_onnx(data).external}


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
    """Return a model with a reference to "elsewhere" in one place."""
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
    ["initializer", "attribute", "subgraph", "subgraph in a list", "tensor in a list"],
)
def test_found(where: str) -> None:
    assert external_locations(model(where)) == {"weights", "elsewhere"}


@pytest.mark.parametrize(
    ("where", "what"),
    [("sparse", "a sparse tensor"), ("function", "a model-local function")],
)
def test_never_exported(where: str, what: str) -> None:
    with pytest.raises(BundleError, match=f"it has {what}, which is never exported"):
        read_onnx(model(where))


def test_training() -> None:
    made = helper.make_model(graph("g", tensor("a")))
    made.training_info.add()
    with pytest.raises(BundleError, match="it has a training graph"):
        read_onnx(made.SerializeToString())


def nested(depth: int) -> bytes:
    """Return a model whose graphs are nested to a depth."""
    inner = graph("g", tensor("t", "elsewhere"))
    for _ in range(depth - 1):
        node = helper.make_node("If", ["c"], ["y"], then_branch=inner)
        inner = graph("g", nodes=(node,))
    return helper.make_model(inner).SerializeToString()


def test_graphs_in_graphs() -> None:
    """Nested graphs are read down to the limit of depth, and refused below it."""
    assert external_locations(nested(GRAPH_DEPTH)) == {"elsewhere"}
    with pytest.raises(BundleError, match=f"graphs nested at most {GRAPH_DEPTH} deep"):
        read_onnx(nested(GRAPH_DEPTH + 1))


def length_delimited(number: int, content: bytes) -> bytes:
    """Return a field of a protobuf message: key, length and content."""
    found = (
        bytearray([number << 3 | 2]) if number < 16 else bytearray([0x82 | number << 3 & 0x78, 1])
    )
    size = len(content)
    while size > 0x7F:
        found.append(size & 0x7F | 0x80)
        size >>= 7
    return bytes([*found, size]) + content


def test_deep_as_bytes() -> None:
    """Graphs nested 2^12 deep, which no library writes, are refused immediately."""
    content = b""
    for _ in range(2**12):
        content = length_delimited(1, length_delimited(5, length_delimited(6, content)))
    with pytest.raises(BundleError, match="graphs nested at most"):
        read_onnx(length_delimited(7, content))


def test_inputs_and_outputs(tiny_bundle: Path) -> None:
    """Inputs and outputs of every graph are those that the onnx package reads."""
    for file in (tiny_bundle / "graphs").glob("*.onnx"):
        read, expected = read_onnx(file.read_bytes()), onnx.load(file, load_external_data=False)
        for mine, theirs in (
            (read.inputs, expected.graph.input),
            (read.outputs, expected.graph.output),
        ):
            names = {"FLOAT": "float32"}
            assert mine == [
                Value(
                    each.name,
                    names.get(
                        kind := TensorProto.DataType.Name(each.type.tensor_type.elem_type),
                        kind.lower(),
                    ),
                    tuple(
                        axis.dim_value if axis.HasField("dim_value") else -1
                        for axis in each.type.tensor_type.shape.dim
                    ),
                )
                for each in theirs
            ]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("offset", "-8"),
        ("offset", "+8"),
        ("offset", "eight"),
        ("length", "8_0"),
        ("length", "1" * 20),
        ("length", ""),
        ("checksum", "0"),
        ("prepacked_0", "key|0;8;1"),
        ("location", "another"),
    ],
)
def test_external_data_unlike_ours(key: str, value: str) -> None:
    """A second location, an unknown key or an offset that is not a plain number is refused."""
    outside = tensor("t", "weights")
    kept = [entry for entry in outside.external_data if entry.key != key]
    if key == "location":
        kept = list(outside.external_data)
    del outside.external_data[:]
    outside.external_data.extend(kept)
    outside.external_data.add(key=key, value=value)
    with pytest.raises(BundleError, match="external data: expected"):
        read_onnx(helper.make_model(graph("g", outside)).SerializeToString())


def test_offsets() -> None:
    made = helper.make_model(graph("g", tensor("t", "weights")))
    assert read_onnx(made.SerializeToString()).external == {External("weights", 0, 8)}


def test_no_external_data() -> None:
    made = helper.make_model(graph("g", tensor("a")))
    assert external_locations(made.SerializeToString()) == set()


def test_last_of_two_values() -> None:
    """If a field occurs twice, protobuf takes the last value; so does `read_onnx`."""
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
    with pytest.raises(BundleError, match="not a valid ONNX file"):
        external_locations(data[:-cut])


def test_foreign() -> None:
    """Bytes that are not a protobuf message raise `BundleError`, never another error."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(200):
        try:
            external_locations(rng.bytes(60))
        except BundleError:
            refused += 1
    assert refused > 150


def test_number_of_nodes_is_limited() -> None:
    """Empty nodes are counted: a few megabytes could hold a million of them."""
    graph = length_delimited(7, length_delimited(1, b"") * 1000)
    assert read_onnx(graph, 1002).messages == 1002
    with pytest.raises(BundleError, match="at most 1,001 nodes"):
        read_onnx(graph, 1001)


@pytest.mark.parametrize("declared", [-1, 0, 1, 3, 2**40])
def test_a_split_of_another_number_of_outputs(declared: int) -> None:
    """A wrong `num_outputs` is refused: ONNX Runtime crashes if it is above the real number."""

    def split(num_outputs: int) -> bytes:
        node = helper.make_node("Split", ["x"], ["a", "b"], num_outputs=num_outputs)
        return helper.make_model(graph("g", nodes=(node,))).SerializeToString()

    read_onnx(split(2))
    with pytest.raises(BundleError, match="Split: expected num_outputs 2"):
        read_onnx(split(declared))
