"""The weights file: every distinct tensor once, and graphs that point into it.

Tensors up to a kilobyte (biases, norms) are repeated inside the graphs, where runtimes want them.

A safetensors file is an 8-byte little-endian header length, a JSON header with the byte range of
each tensor, then the data: so a tensor is ONNX external data at offset 8 + header + its start.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx_ir
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor, nn

from ancestral.errors import ExportError
from ancestral.signature import FloatDtype

PREFIX = "program.model."
SMALL = 1024
"""A weight of up to so many bytes is repeated in each graph."""
INLINE = 64 * 1024
"""Constants up to so many bytes stay inside a graph."""
_FOLDED = 2**16
"""Elements of the largest weight that the exporter's optimiser looks into."""
_DTYPES = {
    "F32": onnx_ir.DataType.FLOAT,
    "F16": onnx_ir.DataType.FLOAT16,
    "BF16": onnx_ir.DataType.BFLOAT16,
    "I64": onnx_ir.DataType.INT64,
    "I32": onnx_ir.DataType.INT32,
    "BOOL": onnx_ir.DataType.BOOL,
}
_STORED: Mapping[FloatDtype, str] = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies in the weights file, in bytes."""

    dtype: onnx_ir.DataType
    shape: tuple[int, ...]
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """The content of a weights file, and where each name of the model lies in it."""

    content: bytes
    slots: Mapping[str, Slot]


def weights_file(model: nn.Module, dtype: FloatDtype = "float32") -> WeightsFile:
    """The parameters and buffers of a model; one that it shares under two names once.

    Args:
        model: its floating tensors are of that type or float32.
        dtype: of the bundle.

    Raises:
        ExportError: a tensor of a type that a bundle does not hold.
    """
    first: dict[int, str] = {}
    names: dict[str, str] = {}
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        names[name] = first.setdefault(id(tensor), name)
        if names[name] == name:
            tensors[name] = tensor.detach().contiguous().cpu()
    content = save(tensors)
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    allowed = {"F32", _STORED[dtype], "I64", "I32", "BOOL"}
    slots = {}
    for name, stored in names.items():
        entry = header[stored]
        if entry["dtype"] not in allowed:
            raise ExportError(
                f"{name}: expected one of {sorted(allowed)} in a {dtype} bundle, "
                f"got {entry['dtype']}: convert the model first, with .float() say"
            )
        start, end = entry["data_offsets"]
        slots[name] = Slot(
            _DTYPES[entry["dtype"]], tuple(entry["shape"]), 8 + size + start, end - start
        )
    return WeightsFile(content, slots)


def small_numbers(weights: Iterable[Tensor]) -> NDArray[np.float32]:
    """What the small ones hold, sorted: of these the exporter folds rearrangements."""
    small = [weight.detach() for weight in weights if weight.numel() <= _FOLDED]
    found = [weight.float().cpu().numpy().ravel() for weight in small]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.float32)


def point_into(graph: onnx_ir.Graph, weights: Mapping[str, Slot], location: str) -> None:
    """Replace the initializers of a graph by references to the weights file.

    Args:
        graph: as the exporter made it; its weights are named after the program's.
        weights: tensors of the file.
        location: of the file, relative to where the graph will be.

    Raises:
        ExportError: the exporter made a large tensor that the file does not hold.
    """
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        slot = weights.get(name.removeprefix(PREFIX))
        if tensor is None or slot is None:
            if tensor is not None and tensor.nbytes > INLINE:
                raise ExportError(
                    f"initializer {name!r} ({tensor.nbytes} bytes, {tensor.shape}) is no weight of "
                    f"the model: the exporter folded a computation on a weight into a new tensor"
                )
            continue
        if (slot.dtype, slot.shape) != (tensor.dtype, tuple(tensor.shape.numpy())):
            raise ExportError(f"initializer {name!r}: expected {slot}, got {tensor}")
        if slot.length <= SMALL:
            continue
        value.const_value = onnx_ir.ExternalTensor(
            location=location,
            offset=slot.offset,
            length=slot.length,
            dtype=slot.dtype,
            shape=onnx_ir.Shape(slot.shape),
            name=name,
        )


def to_bytes(model: onnx_ir.Model) -> bytes:
    """The ONNX file of a model whose large tensors lie elsewhere."""
    return bytes(onnx_ir.to_proto(model).SerializeToString())
