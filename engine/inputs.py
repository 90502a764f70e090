"""What users hand to the engine, checked and brought into the shapes of the graphs."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput

Integers = NDArray[np.int64]


def events(x: ArrayLike, data: DataSpec) -> Integers:
    """Events [n, *event_shape] or [n, t] of levels as sequences [n, t], by positions.

    Raises:
        InvalidInput: another shape, another type than integers, a value that is no level.
    """
    array = _integers("x", x)
    shapes = (data.event_shape, (data.length,))
    if array.ndim < 1 or array.shape[1:] not in shapes or len(array) == 0:
        raise InvalidInput(
            f"x: expected events [n, {', '.join(map(str, data.event_shape))}] with n >= 1, "
            f"got shape {array.shape}"
        )
    _within("x", array, 0, data.levels - 1)
    return data.in_order(array)


def real_events(x: ArrayLike, data: DataSpec) -> NDArray[Any]:
    """Events [n, t] for a density: levels as int64, or real values in units of levels as float32.

    Raises:
        InvalidInput: another shape, a value that is no level, or one that is not finite.
    """
    array = np.asarray(x)
    if array.dtype.kind != "f":
        return events(x, data)
    flat = array.reshape(len(array), -1) if array.ndim > 1 else array
    if array.ndim < 2 or array.shape[1:] not in (data.event_shape, (data.length,)):
        raise InvalidInput(
            f"x: expected events [n, {', '.join(map(str, data.event_shape))}] with n >= 1, "
            f"got shape {array.shape}"
        )
    return real("x", flat, (None, data.length))


def real(name: str, values: ArrayLike, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Finite numbers of a shape whose None may be any length from 1.

    Raises:
        InvalidInput: they are not.
    """
    array = np.asarray(values)
    fits = array.ndim == len(shape) and all(
        size == wanted or (wanted is None and size > 0)
        for size, wanted in zip(array.shape, shape, strict=True)
    )
    if array.dtype.kind not in "fiu" or not fits:
        wanted = ", ".join("any" if size is None else str(size) for size in shape)
        raise InvalidInput(
            f"{name}: expected numbers of shape [{wanted}], got {array.dtype} {list(array.shape)}"
        )
    _finite(name, array)
    return array.astype(np.float32)


def codes(values: ArrayLike, shape: tuple[int | None, ...], levels: int) -> Integers:
    """Codes 0 .. levels - 1 [n, m].

    Raises:
        InvalidInput: they are not.
    """
    array = _integers("z", values)
    if array.ndim != len(shape) or array.shape[1:] != shape[1:] or not len(array):
        raise InvalidInput(
            f"z: expected codes [n, {', '.join(map(str, shape[1:]))}], got shape {array.shape}"
        )
    _within("z", array, 0, levels - 1)
    return array


def labels(
    values: ArrayLike | int | None, n: int, data: DataSpec, optional: bool
) -> Integers | None:
    """A label for each of n events: one for all, or an array [n]; None without classes.

    Args:
        values: what the user gave.
        n: number of events.
        data: the space of events.
        optional: whether the model knows "no label", which is then the label num_classes.

    Raises:
        InvalidInput: a label to an unconditional model, none to a conditional one, or a wrong one.
    """
    if data.num_classes is None:
        if values is not None:
            raise InvalidInput("labels: the model has no classes; give none")
        return None
    if values is None:
        if optional:
            return np.full(n, data.num_classes, np.int64)
        raise InvalidInput(
            f"labels: the model is of p(x | y); give a label in 0 .. {data.num_classes - 1}, "
            f"or one for each of the {n} events"
        )
    return class_labels(values, n, data.num_classes)


def class_labels(values: ArrayLike | int, n: int, num_classes: int) -> Integers:
    """A class for each of n events: one for all, or an array [n].

    Raises:
        InvalidInput: another shape, another type than integers, a value that is no class.
    """
    array = _integers("labels", values)
    if array.shape not in {(), (n,)}:
        raise InvalidInput(f"labels: expected one label or [{n}], got shape {array.shape}")
    _within("labels", array, 0, num_classes - 1)
    return np.ascontiguousarray(np.broadcast_to(array, n))


def observed(values: ArrayLike | None, n: int, data: DataSpec, first_position: int) -> Integers:
    """Observed values by positions, [n, t] (perhaps a view of one event), -1 where one is free.

    Raises:
        InvalidInput: another shape than one event or n of them; a value that is neither a level
            nor -1; x_0 free where the model has no start symbol.
    """
    t = data.length
    if values is None:
        result = np.broadcast_to(np.int64(-1), (n, t))
    else:
        array = _integers("observed", values)
        whole, flat = data.event_shape, (t,)
        if array.shape not in {whole, flat, (n, *whole), (n, *flat)}:
            raise InvalidInput(
                f"observed: expected one event {whole} or {n} of them {(n, *whole)}, "
                f"got shape {array.shape}"
            )
        _within("observed", array, -1, data.levels - 1)
        one = array.shape in {whole, flat}
        result = np.broadcast_to(data.in_order(array[None] if one else array), (n, t))
    if first_position and (result[:, 0] < 0).any():
        raise InvalidInput("observed: the model has no start symbol, so x_0 must be observed")
    return result


def count(name: str, value: int, least: int, most: int = 2**32 - 1) -> int:
    """A whole number in least .. most.

    Raises:
        InvalidInput: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise InvalidInput(f"{name}: expected an integer, got {value!r}")
    if not least <= value <= most:
        raise InvalidInput(f"{name}: expected an integer in {least} .. {most}, got {value}")
    return int(value)


def ids(name: str, values: ArrayLike, levels: int) -> Integers:
    """A sequence of values [n], by positions; it may be empty.

    Raises:
        InvalidInput: no sequence, another type than integers, a value that is no level.
    """
    array = _integers(name, values)
    if array.ndim != 1:
        raise InvalidInput(f"{name}: expected a sequence of ids, [n], got shape {array.shape}")
    _within(name, array, 0, levels - 1)
    return array


def _integers(name: str, values: ArrayLike | int) -> Integers:
    try:
        array: NDArray[Any] = np.asarray(values)
    except (ValueError, TypeError) as error:
        raise InvalidInput(f"{name}: expected an array of integers, got {error}") from error
    if array.dtype.kind not in "iu":
        if array.shape == (0,):
            # An empty list has no type.
            return np.zeros(0, np.int64)
        if array.dtype.kind == "f":
            _finite(name, array)
        raise InvalidInput(f"{name}: expected integers, got {array.dtype}")
    if array.dtype.kind == "u" and array.size and int(array.max()) > np.iinfo(np.int64).max:
        raise InvalidInput(f"{name}: expected values below 2^63, got {array.max()}")
    return array.astype(np.int64)


def _finite(name: str, array: NDArray[Any]) -> None:
    wrong = np.argwhere(~np.isfinite(array))
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        raise InvalidInput(f"{name}: expected finite numbers, got {array[at]} at index {at}")


def _within(name: str, array: Integers, least: int, most: int) -> None:
    wrong = np.argwhere((array < least) | (array > most))
    if len(wrong):
        at = tuple(int(i) for i in wrong[0])
        where = f" at index {at}" if at else ""
        raise InvalidInput(f"{name}: expected values in {least} .. {most}, got {array[at]}{where}")
