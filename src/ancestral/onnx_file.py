"""Where an ONNX file says that its tensors lie, read without the onnx package.

Only the protobuf wire format is read: a message is a run of (field number, wire type, value). The
tests do not type-check the two functions that go over every byte: most of the time would go there.
"""

from collections.abc import Iterator, Mapping
from typing import no_type_check

from ancestral.errors import BundleError

_KEY, _VALUE = 1, 2
# Field numbers of onnx.proto that lead to a TensorProto, message by message.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {13: "external"},
}


def external_locations(model: bytes) -> set[str]:
    """File names in the external data of a ModelProto, wherever in it a tensor can stand.

    Raises:
        BundleError: the bytes are no protobuf message.
    """
    try:
        return set(_locations(model, "model"))
    except (IndexError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise BundleError(f"no ONNX file: {error}") from error


def _locations(message: bytes, kind: str) -> Iterator[str]:
    if kind == "external":
        # Of a field that stands twice, protobuf takes the last.
        entry = dict(_fields(message))
        if entry.get(_KEY) == b"location":
            yield entry.get(_VALUE, b"").decode()
        return
    below = _FIELDS[kind]
    for number, content in _fields(message):
        if number in below:
            yield from _locations(content, below[number])


@no_type_check
def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The length-delimited fields, by number."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        tag &= 0xFFFFFFFF  # as readers of protobuf do
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(message, at)
                if at + size > len(message):
                    raise ValueError("a field ends beyond its message")
                yield tag >> 3, message[at : at + size]
                at += size
            case 5:
                at += 4
            case wire:
                raise ValueError(f"unknown wire type {wire}")


@no_type_check
def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number is longer than 64 bits")
