"""Arrays in requests and answers: nested lists of numbers, and files in .npy format as base64."""

import base64
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from itertools import chain
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import WithJsonSchema

from ancestral.arrays import LARGEST, array_of, readable, shown
from ancestral.dataspec import DataSpec
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput
from ancestral.files.npy import read_npy
from ancestral.limits import AXES

T = TypeVar("T")
Form = Literal["lists", "npy"]
"""Form of the arrays of an answer."""
MOST = 2**22
"""Most numbers of one array of an answer."""
_PART = 2**12
"""Numbers that are parsed or encoded at a time."""
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
    return array_of(name, numbers).reshape(shape)


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
            f"pass fewer rows in one request, or a smaller value"
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
    return _text(fields, form).encode()


def _flat(name: str, value: list[Any]) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Return the numbers of nested lists, [n], and the shape of the lists.

    Numpy would read texts too, with memory for the longest of them at every place.

    Raises:
        InvalidInput: the lists are ragged or too deep, or hold something else than numbers.
    """
    level, shape = value, [len(value)]
    while (kinds := _every(type, level)) == {list}:
        sizes = sorted(_every(len, level))
        if len(sizes) > 1:
            raise InvalidInput(
                f"{name}: expected lists of equal lengths, got {sizes[0]} and {sizes[-1]}"
            )
        if len(shape) == _DEEPEST:
            raise InvalidInput(f"{name}: expected at most {_DEEPEST} axes, got more")
        shape += sizes
        inner: list[Any] = []
        for part in _parts(level, sizes[0]):
            inner += chain.from_iterable(part)
        level = inner
    wrong = kinds - {int, float}
    if wrong:
        found = next(each for each in level if type(each) in wrong)
        raise InvalidInput(f"{name}: expected numbers at the same depth, got {shown(found)}")
    with readable(name):
        parts = [np.array(part) for part in _parts(level)]
        return np.concatenate(parts) if parts else np.zeros(0), tuple(shape)


def _every(function: Callable[[Any], T], values: Sequence[Any]) -> set[T]:
    """Return the different results of a function of each value."""
    found: set[T] = set()
    for part in _parts(values):
        found |= set(map(function, part))
    return found


def _parts(values: Any, each: int = 1) -> Iterator[Any]:
    """Yield parts of a list or an array, of about `_PART` numbers.

    A loop inside one call of Python's or numpy's C code keeps all other threads waiting, the event
    loop too, so no such call gets more numbers than a part has.

    Args:
        values: the list or the array.
        each: how many numbers one entry has.
    """
    step = max(1, _PART // max(1, each))
    return (values[i : i + step] for i in range(0, len(values), step))


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


def _text(value: Any, form: Form) -> str:
    """Return a value as JSON: arrays in a form, and null for infinities and NaN."""
    match value:
        case np.ndarray():
            return _listed(value) if form == "lists" else json.dumps(_to_npy(value))
        case np.generic():
            return _text(value.item(), form)
        case float():
            return json.dumps(value if math.isfinite(value) else None)
        case Mapping():
            items = (f"{json.dumps(key)}:{_text(item, form)}" for key, item in value.items())
            return f"{{{','.join(items)}}}"
        case list() | tuple():
            return f"[{','.join(_text(item, form) for item in value)}]"
        case _:
            return json.dumps(value)


def _listed(values: NDArray[Any]) -> str:
    """Return an array as nested lists."""
    if values.size <= _PART or values.ndim == 0:
        plain: Any = values
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            plain = values.astype(object)
            plain[~np.isfinite(values)] = None
        return json.dumps(plain.tolist(), allow_nan=False, separators=(",", ":"))
    if values[0].size > _PART:
        return f"[{','.join(map(_listed, values))}]"
    # Each part is a list, and its brackets are left out.
    return f"[{','.join(_listed(part)[1:-1] for part in _parts(values, values[0].size))}]"


def _to_npy(values: NDArray[Any]) -> dict[str, str]:
    file = BytesIO()
    np.save(file, values, allow_pickle=False)
    return {"npy": base64.b64encode(file.getbuffer()).decode()}
