"""Read inputs, outputs and external data of an ONNX file without the onnx package.

Only the protobuf wire format is parsed: a message is a run of (field number, wire type, value). The
functions that pass over every byte are not type-checked at runtime in tests, which would be slow.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, no_type_check

from ancestral.arrays import shown
from ancestral.errors import BundleError
from ancestral.limits import GRAPH_DEPTH, GRAPHS_MESSAGES
from ancestral.signature import Dtype, TensorSpec

IN_MEMORY = "_ORT_MEM_ADDR_"
"""In a file named `*/_ORT_MEM_ADDR_/*`, ONNX Runtime takes an offset for an address in memory."""
_DTYPES: Mapping[int, Dtype] = {
    1: "float32",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    16: "bfloat16",
}
_KEY, _VALUE = 1, 2
_TENSOR_NAME = 8
_FIXED: Mapping[int, int] = {1: 8, 5: 4}
"""Bytes of the wire types of fixed length."""
_NUM_OUTPUTS = b"num_outputs"
_DIGITS = 19
"""Most digits of an offset or a length, which are below 2^63."""
# Field numbers of onnx.proto that lead to a TensorProto, message by message.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "input", 12: "output", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "external"},
}
_REFUSED: Mapping[str, str] = {
    "training": "a training graph",
    "function": "a model-local function",
    "sparse": "a sparse tensor",
}
"""Content that is never exported; a runtime may expand functions that call each other endlessly."""


class External(NamedTuple):
    """Location of a tensor's data; without a length, they extend to the end of the file."""

    location: str
    offset: int
    length: int | None


class Value(NamedTuple):
    """Input or output of a graph.

    In a shape, an axis that is not fixed is -1; `None` is an unknown shape.
    """

    name: str
    dtype: str
    shape: tuple[int, ...] | None

    def fits(self, spec: TensorSpec) -> bool:
        """Return whether name, dtype and shape are those of a signature."""
        shaped = self.shape is None or spec.fits(self.shape)
        return self.name == spec.name and self.dtype == spec.dtype and shaped


@dataclass(slots=True)
class OnnxFile:
    """Inputs and outputs of the graph, and the external data of all its tensors.

    Attributes:
        inputs: inputs of the graph; those with a default are left out, as ONNX Runtime does.
        outputs: outputs of the graph.
        defaults: names of the graph's constant tensors. A tied table is an input with a default.
        external: locations of external data of all tensors in the file.
        messages: number of messages in the file, such as nodes, attributes and tensors.
    """

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    defaults: set[str] = field(default_factory=set)
    external: set[External] = field(default_factory=set)
    messages: int = 0


def read_onnx(model: bytes, most: int = GRAPHS_MESSAGES) -> OnnxFile:
    """Read a ModelProto; external data are found wherever a tensor can be.

    Args:
        model: content of the file.
        most: most messages that the file may have.

    Raises:
        BundleError: the bytes are not a ModelProto, have too many messages or graphs nested too
            deep, or have content that is never exported: functions, sparse tensors, training
            graphs, or external data with keys other than location, offset and length.
    """
    found = OnnxFile()
    try:
        _walk((model, 0, len(model)), "model", 0, found, most)
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise BundleError(f"not a valid ONNX file: {error}") from error
    found.inputs = [value for value in found.inputs if value.name not in found.defaults]
    return found


Part = tuple[bytes, int, int]
"""Content of a file, and the begin and end of a message in it."""


def _walk(part: Part, kind: str, depth: int, found: OnnxFile, most: int) -> None:
    """Walk through a message and the messages inside it.

    Args:
        part: message to walk through.
        kind: kind of the message, a key of `_FIELDS` or `_REFUSED`.
        depth: nesting of the graph that it is in; 0 outside of all graphs.
        found: result to which inputs, outputs, external data and counts are added.
        most: most messages that the file may have.
    """
    found.messages += 1
    if found.messages > most:
        raise ValueError(f"expected at most {most:,} nodes, attributes and tensors")
    if kind in _REFUSED:
        raise ValueError(f"it has {_REFUSED[kind]}, which is never exported")
    if depth > GRAPH_DEPTH:
        raise ValueError(f"expected graphs nested at most {GRAPH_DEPTH} deep")
    if kind == "tensor":
        _tensor(part, found)
        return
    if kind == "node":
        _check_outputs(*part)
    below = _FIELDS[kind]
    for number, start, end in _fields(*part, below):
        inner, content = below[number], (part[0], start, end)
        if kind == "graph" and inner == "tensor" and depth == 1:
            found.defaults.add(_name(content))
        if inner not in {"input", "output"}:
            _walk(content, inner, depth + (inner == "graph"), found, most)
        elif depth == 1:
            (found.inputs if inner == "input" else found.outputs).append(_value(content))


def _check_outputs(data: bytes, start: int, end: int) -> None:
    """Refuse a Split whose num_outputs is not its number of outputs: ONNX Runtime 1.31 aborts."""
    if data.find(_NUM_OUTPUTS, start, end) < 0:
        return
    outputs, claimed = 0, []
    for number, at, stop in _fields(data, start, end, (2, 5)):
        if number == 2:
            outputs += 1
            continue
        name, value = b"", 0
        for inner, begin, last in _fields(data, at, stop, (1, 3)):
            if inner == 1:
                name = data[begin:last]
            else:
                value = begin
        if name == _NUM_OUTPUTS:
            claimed.append(value)
    if any(each != outputs for each in claimed):
        raise ValueError(f"Split: expected num_outputs {outputs}, got {claimed}")


def _tensor(part: Part, found: OnnxFile) -> None:
    """Add the external data of a tensor, a run of entries with a key and a value each."""
    entries: dict[str, str] = {}
    for _, start, end in _fields(*part, _FIELDS["tensor"]):
        # If a field occurs twice, the last one counts, as in protobuf.
        fields = _fields(part[0], start, end, (_KEY, _VALUE))
        entry = {number: part[0][at:stop].decode() for number, at, stop in fields}
        key = entry.get(_KEY, "")
        if key in entries or key not in {"location", "offset", "length"}:
            raise ValueError(
                f"external data: expected location, offset and length once, got {shown(key)}"
            )
        entries[key] = entry.get(_VALUE, "")
    if entries:
        length = _whole(entries["length"]) if "length" in entries else None
        offset = _whole(entries.get("offset", "0"))
        found.external.add(External(entries.get("location", ""), offset, length))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise ValueError(f"external data: expected a whole number below 2^63, got {shown(text)}")
    return int(text)


def _name(part: Part) -> str:
    """Read the name of a tensor; the last one counts."""
    names = [part[0][start:end] for _, start, end in _fields(*part, (_TENSOR_NAME,))]
    return names[-1].decode() if names else ""


def _value(part: Part) -> Value:
    """Read a ValueInfoProto: its name, and the dtype and shape of the tensor."""
    data, name, dtype, shape = part[0], "", 0, None
    for number, start, end in _fields(*part, (1, 2)):
        if number == 1:
            name = data[start:end].decode()
            continue
        for _, at, stop in _fields(data, start, end, (1,)):
            for inner, begin, last in _fields(data, at, stop, (1, 2)):
                if inner == 1:
                    dtype = begin
                else:
                    shape = [_length((data, a, b)) for _, a, b in _fields(data, begin, last, (1,))]
    known = _DTYPES.get(dtype, f"type {dtype}")
    return Value(name, known, None if shape is None else tuple(shape))


def _length(part: Part) -> int:
    """Read a Dimension: its length, or -1 if it has a name or nothing."""
    length = -1
    for number, start, _ in _fields(*part, (1, 2)):
        length = start if number == 1 else -1
    return length


@no_type_check
def _fields(data: bytes, at: int, end: int, wanted):
    """Yield number, begin and end of each wanted field; for an integer, its value twice.

    Fields of fixed length have begin and end 0.
    """
    while at < end:
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = _varint(data, at - 1)
            tag &= 0xFFFFFFFF  # protobuf readers keep 32 bits too
        wire = tag & 7
        if wire == 2:
            size = data[at]
            at += 1
            if size > 0x7F:
                size, at = _varint(data, at - 1)
            start = at
            at = stop = at + size
        elif wire == 0:
            start, at = _varint(data, at)
            stop = start
        elif wire in _FIXED:
            at, start, stop = at + _FIXED[wire], 0, 0
        else:
            raise ValueError(f"unknown wire type {wire}")
        if at > end:
            raise ValueError("a field ends beyond its message")
        if tag >> 3 in wanted:
            yield tag >> 3, start, stop


@no_type_check
def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
