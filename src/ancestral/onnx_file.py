"""Where an ONNX file says that its tensors lie, read without the onnx package.

Only the protobuf wire format is read: a message is a run of (field number, wire type, value).
"""

from collections.abc import Iterator

from ancestral.errors import BundleError

_GRAPH, _NODE, _INITIALIZER, _ATTRIBUTE = 7, 1, 5, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH = 5, 6
_TENSOR_EXTERNAL, _KEY, _VALUE = 13, 1, 2


def external_locations(model: bytes) -> set[str]:
    """File names in the external data of a ModelProto, subgraphs included.

    Raises:
        BundleError: the bytes are no protobuf message.
    """
    try:
        return {
            location for graph in _messages(model, _GRAPH) for location in _graph_locations(graph)
        }
    except (IndexError, UnicodeDecodeError, ValueError) as error:
        raise BundleError(f"no ONNX file: {error}") from error


def _graph_locations(graph: bytes) -> Iterator[str]:
    for tensor in _messages(graph, _INITIALIZER):
        yield from _tensor_locations(tensor)
    for node in _messages(graph, _NODE):
        for attribute in _messages(node, _ATTRIBUTE):
            for tensor in _messages(attribute, _ATTRIBUTE_TENSOR):
                yield from _tensor_locations(tensor)
            for subgraph in _messages(attribute, _ATTRIBUTE_GRAPH):
                yield from _graph_locations(subgraph)


def _tensor_locations(tensor: bytes) -> Iterator[str]:
    for entry in _messages(tensor, _TENSOR_EXTERNAL):
        if next(_messages(entry, _KEY), b"") == b"location":
            yield next(_messages(entry, _VALUE), b"").decode()


def _messages(message: bytes, wanted: int) -> Iterator[bytes]:
    """The length-delimited fields of that number."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        match tag & 7:
            case 0:
                _, at = _varint(message, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(message, at)
                if at + size > len(message):
                    raise ValueError("a field ends beyond its message")
                if tag >> 3 == wanted:
                    yield message[at : at + size]
                at += size
            case 5:
                at += 4
            case wire:
                raise ValueError(f"unknown wire type {wire}")


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
