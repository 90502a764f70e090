"""The weights file: every distinct tensor once, and graphs that point into it.

Tensors up to a kilobyte (biases, norms) are repeated inside the graphs, where runtimes want them.

A safetensors file is an 8-byte little-endian header length, a JSON header with the byte range of
each tensor, then the data: so a tensor is ONNX external data at offset 8 + header + its start.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import onnx_ir
import torch
from numpy.typing import NDArray
from onnx_ir.tensor_adapters import from_torch_dtype
from torch import Tensor, nn

from ancestral.errors import ExportError
from ancestral.signature import FloatDtype
from ancestral.train.models.precision import DTYPES, narrowed_tensors

PREFIX = "program.model."
SMALL = 1024
"""A weight of up to so many bytes is repeated in each graph."""
INLINE = 64 * 1024
"""Constants up to so many bytes stay inside a graph."""
_COUNTED = 2**23
"""Integers up to so many bytes do too: one for each value, of a vocabulary say."""
_FOLDED = 2**16
"""Elements of the largest weight that the exporter's optimiser looks into."""
_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.bool: "BOOL",
}
"""Types by their names in a file of safetensors, in the order that its tensors have there."""
_ORDER = tuple(_NAMES)

_FOREIGN = (
    "it is a plain attribute, or a buffer with persistent=False: register it in __init__ with "
    "self.register_buffer(name, tensor)"
)
_FOLDED_WORDS = "the exporter folded a computation on a weight into a new tensor"


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a tensor lies in the weights file, in bytes."""

    dtype: onnx_ir.DataType
    shape: tuple[int, ...]
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file that is to be written, and where each name of the model lies in it.

    The model's tensors are not copied: each is read, and converted, when its turn comes.

    Attributes:
        slots: by the names of the model; two names of one tensor have one slot.
        header: the first bytes of the file.
    """

    slots: Mapping[str, Slot]
    header: bytes
    _data: tuple[tuple[Tensor, torch.dtype], ...]
    """The distinct tensors in the order of the file, and the types that they have there."""

    def parts(self) -> Iterator[bytes | memoryview]:
        """The content of the file: its header, and then a tensor at a time."""
        yield self.header
        for tensor, dtype in self._data:
            stored = tensor.detach().to("cpu", dtype).contiguous()
            yield stored.reshape(-1).view(torch.uint8).numpy().data


def weights_file(model: nn.Module, dtype: FloatDtype = "float32") -> WeightsFile:
    """The parameters and buffers of a model; one that it shares under two names once.

    Args:
        model: its floating tensors are of that type, or of float32 and hold what that type holds.
        dtype: of the bundle: what is of 16 bits there is written so.

    Raises:
        ExportError: a tensor of a type that a bundle does not hold.
    """
    state = model.state_dict(keep_vars=True)
    first: dict[int, str] = {}
    names = {name: first.setdefault(id(tensor), name) for name, tensor in state.items()}
    tensors = {name: state[name] for name in first.values()}
    narrowed = {id(tensor) for _, tensor in narrowed_tensors(model)} if dtype != "float32" else ()
    types = {
        name: DTYPES[dtype] if id(tensor) in narrowed else tensor.dtype
        for name, tensor in tensors.items()
    }
    allowed = {torch.float32, DTYPES[dtype], torch.int64, torch.int32, torch.bool}
    for name, kind in types.items():
        if kind not in allowed:
            expected = sorted(_NAMES[each] for each in allowed)
            raise ExportError(
                f"{name}: expected one of {expected} in a {dtype} bundle, got "
                f"{_NAMES.get(kind, str(kind))}: convert the model first, with .float() say"
            )
    file = tensors_file(tensors, types)
    slots = {name: file.slots[stored] for name, stored in names.items()}
    return replace(file, slots=slots)


def tensors_file(
    tensors: Mapping[str, Tensor], types: Mapping[str, torch.dtype] | None = None
) -> WeightsFile:
    """A safetensors file of tensors, each by itself.

    Args:
        tensors: by name.
        types: that they have in the file; their own where None.
    """
    types = {name: tensor.dtype for name, tensor in tensors.items()} if types is None else types
    # As safetensors itself orders them: wide types first, so that all are aligned.
    names = sorted(tensors, key=lambda name: (_ORDER.index(types[name]), name))
    entries: dict[str, object] = {}
    slots: dict[str, Slot] = {}
    end = 0
    for name in names:
        shape, kind, start = tuple(tensors[name].shape), types[name], end
        length = tensors[name].numel() * kind.itemsize
        end += length
        slots[name] = Slot(from_torch_dtype(kind), shape, start, length)
        entries[name] = {"dtype": _NAMES[kind], "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    header = len(text).to_bytes(8, "little") + text
    slots = {name: replace(slot, offset=len(header) + slot.offset) for name, slot in slots.items()}
    return WeightsFile(slots, header, tuple((tensors[name], types[name]) for name in names))


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
            whole = tensor is not None and tensor.dtype == onnx_ir.DataType.INT64
            if tensor is not None and tensor.nbytes > (_COUNTED if whole else INLINE):
                raise ExportError(
                    f"initializer {name!r} ({tensor.nbytes} bytes, {tensor.shape}) is not a weight "
                    f"of the model: {_FOREIGN if name.startswith(PREFIX) else _FOLDED_WORDS}"
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
