"""Check the arrays that users pass, and convert them to the shapes that the graphs take."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import Integers, array_of, check_range, first, float32, integers, place
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput


def events(x: ArrayLike, data: DataSpec, name: str = "x") -> Integers:
    """Return events [n, *event_shape] or [n, t] of levels as sequences [n, t], by positions.

    Args:
        x: the events.
        data: space of the events.
        name: name of the argument, for errors.

    Raises:
        InvalidInput: `x` has another shape, is not of integers, or has a value that is not a level.
    """
    array = integers(name, x)
    _check_events(array, data, name)
    check_range(name, array, 0, data.levels - 1)
    return data.in_order(array)


def real_events(x: ArrayLike, data: DataSpec) -> NDArray[Any]:
    """Return events [n, t] of a density: levels as int64, or reals in units of levels as float32.

    Raises:
        InvalidInput: `x` has another shape, or a value that is not a level or not finite.
    """
    array = array_of("x", x)
    if array.dtype.kind != "f":
        return events(x, data)
    _check_events(array, data, "x")
    return float32("x", array).reshape(len(array), data.length)


def real(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Return finite numbers of a shape, in which None stands for any length from 1.

    Raises:
        InvalidInput: `values` have another shape or type, or are not finite.
    """
    array = array_of(name, values)
    fits = array.ndim == len(shape) and all(
        size == wanted or (wanted is None and size > 0)
        for size, wanted in zip(array.shape, shape, strict=True)
    )
    if array.dtype.kind not in "fiu" or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InvalidInput(
            f"{name}: expected numbers of shape [{wanted}], got {array.dtype} {list(array.shape)}"
        )
    return float32(name, array)


def uniforms(name: str, values: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Return numbers of a shape that are in (0, 1), also after rounding to float32.

    Raises:
        InvalidInput: `values` have another shape or type, or are outside (0, 1).
    """
    single = real(name, values, shape)
    wrong = first(~((single > 0) & (single < 1)))
    if wrong is not None:
        raise InvalidInput(
            f"{name}: expected float32 numbers in (0, 1), got {single[wrong]}{place(wrong)}"
        )
    return single


def codes(values: ArrayLike, shape: tuple[int | None, ...], levels: int) -> Integers:
    """Return codes in 0 .. levels - 1, [n, m].

    Raises:
        InvalidInput: `values` have another shape or type, or are out of range.
    """
    array = integers("z", values)
    if array.ndim != len(shape) or array.shape[1:] != shape[1:] or not len(array):
        raise InvalidInput(
            f"z: expected codes [n, {', '.join(map(str, shape[1:]))}], got shape {array.shape}"
        )
    check_range("z", array, 0, levels - 1)
    return array


def labels(
    values: ArrayLike | int | None, n: int, data: DataSpec, optional: bool
) -> Integers | None:
    """Return a label for each of n events, [n]; None for a model without classes.

    Args:
        values: one label for all events, [n], or None.
        n: number of events.
        data: the space of events.
        optional: whether the model also has p(x); "no label" is then the label num_classes.

    Raises:
        InvalidInput: a label for a model without classes, no label although one is required, or
            a value that is not a class.
    """
    if data.num_classes is None:
        if values is not None:
            raise InvalidInput("labels: the model has no classes; leave labels out")
        return None
    if values is None:
        if optional:
            return np.broadcast_to(np.int64(data.num_classes), n)
        raise InvalidInput(
            f"`labels` is required: the model is conditional, p(x | y); pass one label in "
            f"0 .. {data.num_classes - 1}, or one for each of the {n} events"
        )
    return class_labels(values, n, data.num_classes)


def class_labels(values: ArrayLike | int, n: int, num_classes: int) -> Integers:
    """Return a class for each of n events, [n], from one for all or an array [n].

    Raises:
        InvalidInput: `values` have another shape or type, or are not classes.
    """
    array = integers("labels", values)
    if array.shape not in {(), (n,)}:
        raise InvalidInput(f"labels: expected one label or [{n}], got shape {array.shape}")
    check_range("labels", array, 0, num_classes - 1)
    return np.broadcast_to(array, n)


def observed(values: ArrayLike | None, n: int, data: DataSpec, first_position: int) -> Integers:
    """Return observed values by positions, [n, t], -1 where free; perhaps a view of one event.

    A masked entry of a numpy masked array is free.

    Raises:
        InvalidInput: `values` are not of the shape of one event (with or without an axis of
            events) or of n events; a value is neither a level nor -1; or x_0 is free and the
            model has no start symbol.
    """
    t = data.length
    if values is None:
        given = np.full((1, t), -1, np.int64)
    else:
        array = integers("observed", values, masked=-1)
        whole, flat = data.event_shape, (t,)
        one = array.shape in {whole, flat}
        if not one and array.shape not in {(m, *each) for m in (1, n) for each in (whole, flat)}:
            raise InvalidInput(
                f"observed: expected shape {whole} (one event) or {(n, *whole)} ({n} events), "
                f"got shape {array.shape}"
            )
        check_range("observed", array, -1, data.levels - 1)
        given = data.in_order(array[None] if one else array)
    if first_position and (given[:, 0] < 0).any():
        raise InvalidInput("observed: x_0 is required, as the model has no start symbol")
    return np.broadcast_to(given, (n, t))


def ids(name: str, values: ArrayLike, levels: int) -> Integers:
    """Return a sequence of values, [n], by positions; it may be empty.

    Raises:
        InvalidInput: `values` are not a sequence of integers in 0 .. levels - 1.
    """
    array = integers(name, values)
    if array.ndim != 1:
        raise InvalidInput(f"{name}: expected a sequence of ids, [n], got shape {array.shape}")
    check_range(name, array, 0, levels - 1)
    return array


def prompt(name: str, values: ArrayLike, data: DataSpec, first_position: int) -> Integers:
    """Return the ids of a prompt, [p], by positions.

    Raises:
        InvalidInput: it is not a sequence of ids, is longer than the context, or is empty and the
            model has no start symbol.
    """
    found = ids(name, values, data.levels)
    if len(found) > data.length:
        raise InvalidInput(
            f"{name}: expected at most {data.length} tokens, the model's context, got "
            f"{len(found)}; shorten it"
        )
    if not len(found) and first_position:
        raise InvalidInput(
            f"{name}: expected at least one token, as the model has no start symbol, got an empty "
            f"prompt"
        )
    return found


def _check_events(array: NDArray[Any], data: DataSpec, name: str) -> None:
    shapes = (data.event_shape, (data.length,))
    if array.ndim < 1 or array.shape[1:] not in shapes or len(array) == 0:
        raise InvalidInput(
            f"{name}: expected events [n, {', '.join(map(str, data.event_shape))}] with n >= 1, "
            f"got shape {array.shape}"
        )
