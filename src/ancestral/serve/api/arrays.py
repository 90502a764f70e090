"""Arrays in requests and answers: nested lists of numbers, and files in .npy format as base64."""

import base64
import json
import math
from collections.abc import Mapping
from io import BytesIO
from itertools import chain
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import WithJsonSchema

from ancestral.arrays import LARGEST, array_of, readable, shown
from ancestral.dataspec import DataSpec
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput
from ancestral.files.npy import read_npy
from ancestral.limits import AXES

Form = Literal["lists", "npy"]
"""Form of the arrays of an answer."""
MOST = 2**22
"""Most numbers of one array of an answer."""
_DEEPEST = AXES + 2
"""Most axes of an array: those of events, their number, and values of each position."""
_FILE = {
    "type": "object",
    "properties": {
        "npy": {
            "type": "string",
            "contentEncoding": "base64",
            "description": "File in .npy format, without pickles.",
        }
    },
    "required": ["npy"],
    "additionalProperties": False,
}
_NUMBERS = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "array"}]}}
Array = Annotated[Any, WithJsonSchema({"anyOf": [_NUMBERS, _FILE]})]
"""Array of a request."""
Labels = Annotated[
    Any, WithJsonSchema({"anyOf": [{"type": "integer"}, _NUMBERS, _FILE, {"type": "null"}]})
]
"""Labels of a request: one for all events, or one for each."""
Values = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "array", "items": {}}, _FILE]})]
"""Array of an answer. Infinities and NaN are null in a list."""


def array(name: str, value: object) -> NDArray[Any]:
    """Return an array of a request.

    Args:
        name: name of the field, for errors.
        value: nested lists of numbers, or {"npy": base64 of an .npy}.

    Raises:
        InvalidInput: the value is neither, the lists are ragged, or the .npy is not valid or has
            pickled objects.
    """
    if isinstance(value, dict):
        return _from_npy(name, value)
    if not isinstance(value, list):
        raise InvalidInput(
            f'{name}: expected nested lists of numbers, or {{"npy": BASE64}}, got {shown(value)}'
        )
    numbers, shape = _flat(name, value)
    with readable(name):
        flat = np.array(numbers)
    return array_of(name, flat).reshape(shape)


def labels_of(value: object) -> NDArray[Any] | int | None:
    """Return the labels of a request, as the methods of an engine take them.

    Raises:
        InvalidInput: they are neither an integer nor an array.
    """
    if value is None or type(value) is int:
        return value
    if not isinstance(value, list | dict):
        raise InvalidInput(
            f"labels: expected an integer, or a list of integers, got {shown(value)}"
        )
    return array("labels", value)


def each_label(runner: Runner, labels: NDArray[Any] | int | None, n: int) -> list[int | None]:
    """Return the label of each of n events; None for those without one.

    Args:
        runner: the engine.
        labels: one label for all events, [n], or None.
        n: number of events.

    Raises:
        InvalidInput: they are not labels of the model, or are missing but required.
    """
    found = runner.labels(labels, n)
    return [None] * n if labels is None or found is None else found.tolist()


def rows(values: NDArray[Any]) -> int:
    """Return the length of the first axis of an array; 1 if it has no axes."""
    return len(values) if values.ndim else 1


def check_size(name: str, numbers: int, most: int = MOST) -> None:
    """Check that an array of an answer is not too large.

    Args:
        name: name of the field that makes it large, for errors.
        numbers: how many numbers the array will have.
        most: how many it may have.

    Raises:
        InvalidInput: there are too many.
    """
    if numbers > most:
        raise InvalidInput(
            f"{name}: {numbers:,} numbers needed in one array of the answer, {most:,} available; "
            f"ask for less at a time"
        )


def by_sites(values: NDArray[Any], data: DataSpec) -> NDArray[Any]:
    """Return values by positions, [n, t, ...], as values of events, [n, *event_shape, ...]."""
    placed = values[:, np.argsort(data.order)]
    return placed.reshape(len(values), *data.event_shape, *values.shape[2:])


def encoded(fields: Mapping[str, Any], form: Form) -> bytes:
    """Return the JSON of an answer.

    Args:
        fields: arrays and plain values by name.
        form: form of the arrays.
    """
    plain = _plain(fields, form)
    return json.dumps(plain, allow_nan=False, separators=(",", ":")).encode()


def _flat(name: str, value: list[Any]) -> tuple[list[Any], tuple[int, ...]]:
    """Return the numbers of nested lists, and their shape.

    Numpy would read texts too, with memory for the longest of them at every place.

    Raises:
        InvalidInput: the lists are ragged or too deep, or hold something else than numbers.
    """
    level, shape = value, [len(value)]
    while level and all(kind is list for kind in set(map(type, level))):
        sizes = sorted(set(map(len, level)))
        if len(sizes) > 1:
            raise InvalidInput(
                f"{name}: expected lists of equal lengths, got {sizes[0]} and {sizes[-1]}"
            )
        if len(shape) == _DEEPEST:
            raise InvalidInput(f"{name}: expected at most {_DEEPEST} axes, got more")
        shape += sizes
        level = list(chain.from_iterable(level))
    wrong = set(map(type, level)) - {int, float}
    if wrong:
        found = next(each for each in level if type(each) in wrong)
        raise InvalidInput(f"{name}: expected numbers at the same depth, got {shown(found)}")
    return level, tuple(shape)


def _from_npy(name: str, value: dict[str, Any]) -> NDArray[Any]:
    """Return the array of {"npy": base64}.

    Raises:
        InvalidInput: the object has other fields, or the content is not an .npy of numbers.
    """
    text = value.get("npy")
    if len(value) != 1 or not isinstance(text, str):
        raise InvalidInput(f'{name}: expected {{"npy": BASE64}}, got {shown(value)}')
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InvalidInput(f"{name}: expected base64 of an .npy, got {shown(text)}") from error
    # What the header claims is compared with the size, so a limit is not needed.
    return read_npy(BytesIO(content), len(content), name, LARGEST)


def _plain(value: Any, form: Form) -> Any:
    """Return a value as JSON has it: arrays in a form, and null for infinities and NaN."""
    match value:
        case np.ndarray():
            return _listed(value) if form == "lists" else _to_npy(value)
        case np.generic():
            return _plain(value.item(), form)
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {key: _plain(item, form) for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, form) for item in value]
        case _:
            return value


def _listed(values: NDArray[Any]) -> Any:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        plain = values.astype(object)
        plain[~np.isfinite(values)] = None
        return plain.tolist()
    return values.tolist()


def _to_npy(values: NDArray[Any]) -> dict[str, str]:
    file = BytesIO()
    np.save(file, values, allow_pickle=False)
    return {"npy": base64.b64encode(file.getbuffer()).decode()}
