"""The weights file: every distinct tensor once, and graphs that point into it.

A safetensors file is an 8-byte little-endian header length, a JSON header with the byte range of
each tensor, then the data: so a tensor is ONNX external data at offset 8 + header + its start.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import onnx_ir
from safetensors.torch import save
from torch import Tensor, nn

from ancestral.errors import ExportError

PREFIX = "program.model."
INLINE = 64 * 1024
"""Constants up to so many bytes stay inside a graph."""
_DTYPES = {
    "F32": onnx_ir.DataType.FLOAT,
    "F16": onnx_ir.DataType.FLOAT16,
    "BF16": onnx_ir.DataType.BFLOAT16,
}


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies in the weights file, in bytes."""

    dtype: onnx_ir.DataType
    shape: tuple[int, ...]
    offset: int
    length: int


def weights_bytes(model: nn.Module) -> bytes:
    """The weights file of a model: parameters and buffers, a shared one once."""
    seen: dict[int, str] = {}
    tensors: dict[str, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen[id(tensor)] = name
            tensors[name] = tensor.detach().contiguous().cpu()
    return save(tensors)


def slots(file: bytes) -> dict[str, Slot]:
    """The tensors of a weights file by name."""
    size = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + size])
    return {
        name: Slot(
            _DTYPES[entry["dtype"]],
            tuple(entry["shape"]),
            8 + size + entry["data_offsets"][0],
            entry["data_offsets"][1] - entry["data_offsets"][0],
        )
        for name, entry in header.items()
        if name != "__metadata__"
    }


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
        if slot.length <= 1024:
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
