"""The weights file, which holds every distinct tensor once; graphs point into it.

Tensors of up to 1 KiB (biases, norms) are also stored inside each graph, where runtimes expect
them.

A safetensors file is an 8-byte little-endian header length, a JSON header with the byte range of
each tensor, then the data. A tensor is therefore ONNX external data at offset 8 + header length +
start of its range.
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

from ancestral.bundles.quantisation import Quantisation
from ancestral.errors import ExportError
from ancestral.signature import FloatDtype
from ancestral.train.models.precision import DTYPES, narrowed_tensors

PREFIX = "program.model."
SMALL = 1024
"""Largest weight that is stored inside each graph too, in bytes."""
INLINE = 64 * 1024
"""Largest constant of a graph that is not a weight, in bytes."""
_COUNTED = 2**23
"""The same limit for int64 constants, in bytes: a vocabulary may need a number per token."""
_FOLDED = 2**16
"""Largest weight that the exporter's optimiser folds into constants, in elements."""
_NAMES = {
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.bool: "BOOL",
    torch.uint8: "U8",
}
"""Names of the types in a safetensors file, in the order in which it stores its tensors."""
_ORDER = tuple(_NAMES)

_FOREIGN = (
    "it is a plain attribute, or a buffer with persistent=False; register it in __init__ with "
    "self.register_buffer(name, tensor)"
)
_FOLDED_WORDS = (
    "the exporter folded a computation on a weight into a new tensor; store its result as a buffer"
)


@dataclass(frozen=True, slots=True)
class Slot:
    """Type and shape of a tensor, and its offset and length in the weights file, in bytes."""

    dtype: onnx_ir.DataType
    shape: tuple[int, ...]
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """A weights file to be written, and the place of each tensor in it.

    The model's tensors are not copied: each is read and converted when it is written.

    Attributes:
        slots: place of each tensor, by its name in the model; two names of one tensor share a slot.
        header: first bytes of the file: header length and JSON.
    """

    slots: Mapping[str, Slot]
    header: bytes
    _data: tuple[tuple[Tensor, torch.dtype], ...]
    """Distinct tensors in the order of the file, each with its type in the file."""

    def parts(self) -> Iterator[bytes | memoryview]:
        """Yield the content of the file: its header, then one tensor at a time."""
        yield self.header
        for tensor, dtype in self._data:
            stored = tensor.detach().to("cpu", dtype).contiguous()
            yield stored.reshape(-1).view(torch.uint8).numpy().data


def weights_file(
    model: nn.Module, dtype: FloatDtype = "float32", plan: Quantisation | None = None
) -> WeightsFile:
    """Lay out the parameters and buffers of a model; a tensor with two names is stored once.

    Args:
        model: model whose floating-point tensors have the type `dtype`, or are float32 with
            numbers that `dtype` represents exactly.
        dtype: type of the bundle. Tensors that a bundle of this type stores in 16 bits are
            converted as they are written.
        plan: what is quantised in the model. Its scales are converted to their type in the file.

    Returns:
        The file, still to be written, with a slot for each name in the model's state_dict.

    Raises:
        ExportError: a tensor has a type that the bundle cannot hold.
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
    if plan is not None:
        types |= {f"{name}_scale": DTYPES[plan.scales] for name in plan.tensors}
        allowed |= {torch.uint8, DTYPES[plan.scales]}
    for name, kind in types.items():
        if kind not in allowed:
            expected = sorted(_NAMES[each] for each in allowed)
            raise ExportError(
                f"{name}: expected one of {expected} in a {dtype} bundle, got "
                f"{_NAMES.get(kind, str(kind))}; convert the model first, for example with .float()"
            )
    file = tensors_file(tensors, types)
    slots = {name: file.slots[stored] for name, stored in names.items()}
    return replace(file, slots=slots)


def tensors_file(
    tensors: Mapping[str, Tensor], types: Mapping[str, torch.dtype] | None = None
) -> WeightsFile:
    """Lay out a safetensors file, with every tensor stored separately.

    Args:
        tensors: tensors by name.
        types: type of each tensor in the file; None to keep their types.

    Returns:
        The file, still to be written.
    """
    types = {name: tensor.dtype for name, tensor in tensors.items()} if types is None else types
    # The order that safetensors uses: wide types first, so that all tensors are aligned.
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
    """Return the sorted distinct numbers of the weights that the exporter may rearrange.

    The exporter folds a rearrangement (a transposition, a slice) of a small weight into a constant.
    """
    small = [weight.detach() for weight in weights if weight.numel() <= _FOLDED]
    found = [weight.float().cpu().numpy().ravel() for weight in small]
    return np.unique(np.concatenate(found)) if found else np.empty(0, np.float32)


def point_into(graph: onnx_ir.Graph, weights: Mapping[str, Slot], location: str) -> None:
    """Replace the large initializers of a graph by references to the weights file.

    Args:
        graph: graph from the exporter, whose weights are named as in the exported program.
        weights: place of each tensor in the file, by its name in the model.
        location: path of the weights file relative to the graph's file.

    Raises:
        ExportError: the graph has a large tensor that is not in the file.
    """
    for name, value in list(graph.initializers.items()):
        tensor = value.const_value
        slot = weights.get(name.removeprefix(PREFIX))
        if tensor is None or slot is None:
            whole = tensor is not None and tensor.dtype == onnx_ir.DataType.INT64
            if tensor is not None and tensor.nbytes > (_COUNTED if whole else INLINE):
                raise ExportError(
                    f"tensor {name.removeprefix(PREFIX)!r} ({tensor.nbytes} bytes, {tensor.shape}) "
                    f"is not a weight of the model: "
                    f"{_FOREIGN if name.startswith(PREFIX) else _FOLDED_WORDS}"
                )
            continue
        if (slot.dtype, slot.shape) != (tensor.dtype, tuple(tensor.shape.numpy())):
            raise ExportError(
                f"tensor {name.removeprefix(PREFIX)!r}: expected {slot.dtype.name} "
                f"{list(slot.shape)}, got {tensor.dtype.name} {list(tensor.shape.numpy())}; report "
                f"it with the output of `ancestral doctor`"
            )
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
    """Serialise a model as an ONNX file; external tensors stay in their own file."""
    return bytes(onnx_ir.to_proto(model).SerializeToString())
