"""The weights file holds every distinct tensor once, and the graphs point into it."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest
import torch
from safetensors.torch import load_file, save

from ancestral.errors import ExportError
from ancestral.export.weights import (
    INLINE,
    PREFIX,
    SMALL,
    point_into,
    weights_file,
)
from ancestral.signature import FloatDtype
from ancestral.train.models.precision import DTYPES, narrow, round_in_place
from tests.toys import TOYS, make

Bundles = Callable[[str], Path]


@pytest.mark.parametrize("toy", TOYS)
def test_every_tensor_once(toy: str) -> None:
    """The file has the bytes of the distinct parameters and buffers; tied ones are there once."""
    model = make(toy)
    file = weights_file(model)
    data = b"".join(file.parts())
    header = int.from_bytes(data[:8], "little")
    distinct = {
        tensor.data_ptr(): tensor.numel() * tensor.element_size()
        for tensor in [*model.parameters(), *model.buffers()]
    }
    assert len(data) - 8 - header == sum(distinct.values())
    assert len({slot.offset for slot in file.slots.values()}) == len(distinct)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("toy", TOYS)
def test_as_safetensors_writes_it(toy: str, dtype: FloatDtype) -> None:
    """The file, which is written tensor by tensor, has the bytes of the library's own file."""
    model = make(toy)
    if dtype != "float32":
        round_in_place(model, DTYPES[dtype])
    file = weights_file(model, dtype)
    narrowed = narrow(copy.deepcopy(model), DTYPES[dtype])
    distinct = {
        tensor: name for name, tensor in reversed(narrowed.state_dict(keep_vars=True).items())
    }
    assert b"".join(file.parts()) == save({name: t.detach() for t, name in distinct.items()})


def test_types_in_a_file(tmp_path: Path) -> None:
    """Tensors, scalars and empty tensors of every type that a bundle may have are written."""
    model = torch.nn.Module()
    for i, dtype in enumerate((torch.bool, torch.int32, torch.int64, torch.float32)):
        model.register_buffer(f"b{i}", torch.arange(5 - i).to(dtype))
        model.register_buffer(f"a{i}", torch.ones((), dtype=dtype))
    model.register_buffer("turned", torch.arange(6.0).view(2, 3).T)
    model.register_buffer("empty", torch.ones(0, 3))
    path = tmp_path / "weights"
    path.write_bytes(b"".join(weights_file(model).parts()))
    got = load_file(path)
    assert got.keys() == model.state_dict().keys()
    assert all(torch.equal(got[name], tensor) for name, tensor in model.state_dict().items())
    assert path.read_bytes() == save({n: t.contiguous() for n, t in model.state_dict().items()})


def test_shared_tensor() -> None:
    """One tensor with two names is in the file once, and both names lead to it."""
    model = torch.nn.Sequential(torch.nn.Linear(30, 30), torch.nn.Linear(30, 30))
    apart = weights_file(model)
    model[1].weight = model[0].weight
    shared = weights_file(model)
    assert sum(map(len, apart.parts())) - sum(map(len, shared.parts())) >= 30 * 30 * 4
    assert shared.slots["0.weight"] == shared.slots["1.weight"]
    assert apart.slots["0.weight"] != apart.slots["1.weight"]


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
            expected = state[name].numpy()
            got = np.frombuffer(data[start : start + size], expected.dtype).reshape(tensor.dims)
            assert np.array_equal(got, expected), f"{file.name}: {name}"
            pointed.add(name)
    assert pointed, "the toys are large enough to be stored outside"


def test_no_weight_in_a_graph(bundles: Bundles, toy: str) -> None:
    """Only small weights are inside a graph, and only little that was computed from a weight."""
    for file in (bundles(toy) / "graphs").glob("*.onnx"):
        for tensor in onnx.load(file, load_external_data=False).graph.initializer:
            if not tensor.external_data:
                most = SMALL + 200 if tensor.name.startswith(PREFIX) else INLINE
                assert tensor.ByteSize() <= most, f"{file.name}: {tensor.name}"


def test_no_paths_of_the_machine(bundles: Bundles, toy: str) -> None:
    """A bundle has no source lines, and no folders of the machine that exported it."""
    here = str(Path(__file__).parent.parent.parent)
    for file in bundles(toy).rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            assert here.encode() not in data, file.name
            assert not re.search(rb"/(home|root|tmp|usr|work)/|\.py\b|site-packages", data), file


def graph(*names: str, elements: int = 4, kind: int = onnx.TensorProto.FLOAT) -> onnx_ir.Graph:
    tensors = [onnx.helper.make_tensor(name, kind, [elements], [0] * elements) for name in names]
    made = onnx.helper.make_graph([], "g", [], [], initializer=tensors)
    return onnx_ir.from_proto(onnx.helper.make_model(made)).graph


def test_folded_weight_is_refused() -> None:
    """A large constant that is not a weight is refused: each graph would store it again."""
    with pytest.raises(ExportError, match="folded a computation on a weight"):
        point_into(graph("folded", elements=INLINE // 4 + 1), {}, "weights")
    point_into(graph("small"), {}, "weights")


def test_numbers_of_values_stay_inside() -> None:
    """Integers that count the values of a vocabulary, for a filter, stay inside a graph."""
    values = graph("values", elements=50_257, kind=onnx.TensorProto.INT64)
    point_into(values, {}, "weights")
    assert isinstance(values.initializers["values"].const_value, onnx_ir.TensorProtoTensor)
    with pytest.raises(ExportError, match="folded a computation on a weight"):
        point_into(graph("codes", elements=2**21, kind=onnx.TensorProto.INT64), {}, "weights")


def test_other_shape_is_refused() -> None:
    weights = weights_file(torch.nn.Linear(4, 3)).slots
    with pytest.raises(ExportError, match=r"expected FLOAT \[3, 4\], got FLOAT \[4\]"):
        point_into(graph(f"{PREFIX}weight"), weights, "weights")


def test_other_type_is_refused() -> None:
    with pytest.raises(ExportError, match=r"weight: expected one of .* got F64; convert"):
        weights_file(torch.nn.Linear(4, 3).double())


def test_manifest_counts_the_parameters(bundles: Bundles) -> None:
    manifest = json.loads((bundles("llama") / "manifest.json").read_bytes())
    count = sum(parameter.numel() for parameter in make("llama").parameters())
    assert manifest["components"]["model"]["parameters"] == count
