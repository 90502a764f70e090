"""What an ONNX file says of itself, read without the onnx package: inputs, outputs, external data.

Only the protobuf wire format is read: a message is a run of (field number, wire type, value). The
tests do not type-check the functions that go over every byte: most of the time would go there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, no_type_check

from ancestral.arrays import shown
from ancestral.errors import BundleError
from ancestral.limits import GRAPH_DEPTH, GRAPHS_MESSAGES
from ancestral.signature import Dtype, TensorSpec

IN_MEMORY = "_ORT_MEM_ADDR_"
"""ONNX Runtime takes an offset in the file `*/_ORT_MEM_ADDR_/*` for an address in memory."""
_DTYPES: Mapping[int, Dtype] = {
    1: "float32",
    6: "int32",
    7: "int64",
    9: "bool",
    10: "float16",
    16: "bfloat16",
}
_KEY, _VALUE = 1, 2
_FIXED: Mapping[int, int] = {1: 8, 5: 4}
"""Bytes of the wire types of one length."""
_NUM_OUTPUTS = b"num_outputs"
_DIGITS = 19
"""Of an offset or a length: less than 2^63."""
# Field numbers of onnx.proto that lead to a TensorProto, message by message.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "graph": {1: "node", 5: "tensor", 11: "input", 12: "output", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "tensor": {13: "external"},
}
_REFUSED: Mapping[str, str] = {
    "training": "a graph for training",
    "function": "a function of the model's own",
    "sparse": "a sparse tensor",
}
"""What is never exported: functions that call each other can grow without end in a runtime."""


class External(NamedTuple):
    """Where the data of a tensor are; to the end of the file where they have no length."""

    location: str
    offset: int
    length: int | None


class Value(NamedTuple):
    """An input or output; a fixed axis is a length, any other one is -1; None without a shape."""

    name: str
    dtype: str
    shape: tuple[int, ...] | None

    def fits(self, spec: TensorSpec) -> bool:
        """Whether it is what a signature says."""
        shaped = self.shape is None or spec.fits(self.shape)
        return self.name == spec.name and self.dtype == spec.dtype and shaped


@dataclass(slots=True)
class OnnxFile:
    """Inputs and outputs of the graph, and the external data of all its tensors.

    Attributes:
        inputs: of the graph.
        outputs: of the graph.
        external: data of tensors, wherever in the file they are.
        messages: how many were gone through: nodes, attributes, tensors.
    """

    inputs: list[Value] = field(default_factory=list)
    outputs: list[Value] = field(default_factory=list)
    external: set[External] = field(default_factory=set)
    messages: int = 0


def read_onnx(model: bytes, most: int = GRAPHS_MESSAGES) -> OnnxFile:
    """What a ModelProto says; external data are found wherever in it a tensor can be.

    Args:
        model: the file.
        most: messages in it at most.

    Raises:
        BundleError: the bytes are no such message, graphs are nested too deep, or there is what is
            never exported: functions, sparse tensors, graphs for training, external data with
            other keys than location, offset and length.
    """
    found = OnnxFile()
    try:
        _walk((model, 0, len(model)), "model", 0, found, most)
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise BundleError(f"no ONNX file that can be read: {error}") from error
    return found


Part = tuple[bytes, int, int]
"""A file, and where in it a message begins and ends."""


def _walk(part: Part, kind: str, depth: int, found: OnnxFile, most: int) -> None:
    """Go through a message and those inside it.

    Args:
        part: the message.
        kind: which message it is.
        depth: of the graph that it is in; 0 above all graphs.
        found: what is found is added to it.
        most: messages in the file.
    """
    found.messages += 1
    if found.messages > most:
        raise ValueError(f"expected at most {most:,} nodes, attributes and tensors")
    if kind in _REFUSED:
        raise ValueError(f"it holds {_REFUSED[kind]}, which is never exported")
    if depth > GRAPH_DEPTH:
        raise ValueError(f"expected at most {GRAPH_DEPTH} graphs inside each other")
    if kind == "tensor":
        _tensor(part, found)
        return
    if kind == "node":
        _check_outputs(*part)
    below = _FIELDS[kind]
    for number, start, end in _fields(*part, below):
        inner, content = below[number], (part[0], start, end)
        if inner not in {"input", "output"}:
            _walk(content, inner, depth + (inner == "graph"), found, most)
        elif depth == 1:
            (found.inputs if inner == "input" else found.outputs).append(_value(content))


def _check_outputs(data: bytes, start: int, end: int) -> None:
    """Refuse a Split of another number of outputs than it has: ONNX Runtime 1.31 aborts there."""
    if data.find(_NUM_OUTPUTS, start, end) < 0:
        return
    outputs, said = 0, []
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
            said.append(value)
    if any(each != outputs for each in said):
        raise ValueError(f"expected {outputs} outputs of a Split, got num_outputs {said}")


def _tensor(part: Part, found: OnnxFile) -> None:
    """External data of a tensor: a run of entries, each of a key and a value."""
    entries: dict[str, str] = {}
    for _, start, end in _fields(*part, _FIELDS["tensor"]):
        # If a field occurs twice, protobuf takes the last one.
        fields = _fields(part[0], start, end, (_KEY, _VALUE))
        entry = {number: part[0][at:stop].decode() for number, at, stop in fields}
        key = entry.get(_KEY, "")
        if key in entries or key not in {"location", "offset", "length"}:
            raise ValueError(
                f"external data: expected one location, offset and length, got {shown(key)}"
            )
        entries[key] = entry.get(_VALUE, "")
    if entries:
        length = _whole(entries["length"]) if "length" in entries else None
        offset = _whole(entries.get("offset", "0"))
        found.external.add(External(entries.get("location", ""), offset, length))


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _DIGITS):
        raise ValueError(f"external data: expected an offset and a length, got {shown(text)}")
    return int(text)


def _value(part: Part) -> Value:
    """A ValueInfoProto: its name, and the element type and shape of the tensor."""
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
    """A Dimension: its length, or -1 where it has a name or nothing."""
    length = -1
    for number, start, _ in _fields(*part, (1, 2)):
        length = start if number == 1 else -1
    return length


@no_type_check
def _fields(data: bytes, at: int, end: int, wanted):
    """The wanted fields of a message: number, begin and end; of an integer, its value twice."""
    while at < end:
        tag = data[at]
        at += 1
        if tag > 0x7F:
            tag, at = _varint(data, at - 1)
            tag &= 0xFFFFFFFF  # as readers of protobuf do
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
