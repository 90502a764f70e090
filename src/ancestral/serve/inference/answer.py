"""The response of a model: a JSON document, and the bytes of binary tensors after it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ancestral.arrays import first, place
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted
from ancestral.serve.inference.protocol import (
    BINARY,
    BINARY_OUTPUT,
    BINARY_SIZE,
    InferenceRequest,
)
from ancestral.serve.inference.tensors import NUMBERS, Array, Tensor

_OTHER = ("classification", "shared_memory_region")
"""Parameters of an output that would change what is returned, and where."""
_CHUNK = 2**14
"""Numbers that are written as JSON at a time; other threads run in between."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that is returned, and whether as bytes."""

    tensor: Tensor
    binary: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """The body of a response.

    Attributes:
        content: a JSON document, and the bytes of the binary tensors in the order of the outputs.
        document: bytes of the document.
    """

    content: bytes
    document: int


def wanted(known: Sequence[Tensor], body: InferenceRequest) -> list[Wanted]:
    """Return the outputs that a request asks for; all if it names none.

    Raises:
        InvalidInput: an output is unknown or named twice, or has a parameter that is not valid.
    """
    every = _flag("parameters", body.parameters.get(BINARY_OUTPUT, False), BINARY_OUTPUT)
    if not body.outputs:
        return [Wanted(tensor, every) for tensor in known]
    by_name, found = {each.name: each for each in known}, dict[str, Wanted]()
    for each in body.outputs:
        if each.name not in by_name:
            names = ", ".join(by_name)
            raise InvalidInput(f"outputs: expected some of {names}, got {quoted(each.name)}")
        what = f"output {each.name}"
        if each.name in found:
            raise InvalidInput(f"{what}: expected it once, got it twice")
        for name in _OTHER:
            if name in each.parameters:
                raise InvalidInput(f"{what}: expected no parameter {name}, which is not offered")
        binary = _flag(what, each.parameters.get(BINARY, every), BINARY)
        found[each.name] = Wanted(by_name[each.name], binary)
    return list(found.values())


def answer(
    head: Mapping[str, str], outputs: Sequence[Wanted], arrays: Mapping[str, Array]
) -> Answer:
    """Return the body of a response.

    Args:
        head: fields of the document before the outputs.
        outputs: outputs to return.
        arrays: arrays of the outputs by name.

    Raises:
        InvalidInput: a number of an output that is returned as JSON is not finite.
    """
    document, tensors = bytearray(json.dumps(head)[:-1].encode() + b',"outputs":['), []
    for i, each in enumerate(outputs):
        tensor = each.tensor
        array = _as_sent(tensor, arrays[tensor.name])
        entry: dict[str, object] = {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(array.shape),
        }
        document += b"," if i else b""
        if each.binary:
            tensors.append(array.tobytes())
            entry["parameters"] = {BINARY_SIZE: len(tensors[-1])}
            document += json.dumps(entry).encode()
        else:
            document += json.dumps(entry)[:-1].encode() + b',"data":['
            for text in _listed(tensor.name, array):
                document += text
            document += b"]}"
    document += b"]}"
    return Answer(b"".join([document, *tensors]), len(document))


def bytes_of(tensors: Sequence[Tensor], rows: int) -> int:
    """Return the bytes of outputs with a number of rows."""
    return sum(
        int(np.prod([rows if size < 0 else size for size in each.shape], dtype=object))
        * _dtype(each).itemsize
        for each in tensors
    )


def _listed(name: str, array: Array) -> Iterator[bytes]:
    """Yield the elements of an array as JSON, with commas, in pieces.

    Raises:
        InvalidInput: a number is not finite.
    """
    if array.dtype.kind == "f":
        wrong = first(~np.isfinite(array))
        if wrong is not None:
            raise InvalidInput(
                f"output {name}: expected finite numbers for JSON, got {array[wrong]}"
                f"{place(wrong)}; set {BINARY} for this output"
            )
    flat = array.reshape(-1)
    for start in range(0, len(flat), _CHUNK):
        text = json.dumps(flat[start : start + _CHUNK].tolist(), separators=(",", ":"))
        yield (("," if start else "") + text[1:-1]).encode()


def _as_sent(tensor: Tensor, array: Array) -> Array:
    """Return an array in the type and byte order of the protocol; the engine made its values."""
    return np.ascontiguousarray(array, _dtype(tensor))


def _dtype(tensor: Tensor) -> np.dtype[np.generic]:
    return np.dtype(np.bool_) if tensor.datatype == "BOOL" else NUMBERS[tensor.datatype]


def _flag(what: str, value: object, name: str) -> bool:
    if not isinstance(value, bool):
        raise InvalidInput(f"{what}: expected true or false for {name}, got {quoted(str(value))}")
    return value
