"""Checks of the engines' arguments other than events: seeds, counts, strings, callbacks."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any

from ancestral.arrays import array_of, check_range, integers, readable, shown
from ancestral.engine.noise import Noise
from ancestral.errors import InvalidInput
from ancestral.sampling import Sampling
from ancestral.scalars import whole

Progress = Callable[[int, int], None]
"""Called as `progress(done, total)`; in most calls these are numbers of positions."""


class Tally:
    """Counts the work that is done and reports it to the user's callback, if there is one."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def add(self, done: int) -> None:
        """Add to the count, and report."""
        self._done += done
        if self._progress is not None:
            self._progress(self._done, self._total)


_INDICES = 2**32
"""Number of sample indices of a seed."""


def noise(seed: object, first_index: object, n: int) -> Noise:
    """Return the noise of n samples, from their seed and the index of the first.

    Raises:
        InvalidInput: the seed or the index is out of range, or the last sample's index would be.
    """
    checked = whole("seed", seed, 0, 2**64 - 1)
    index = whole("first_index", first_index, 0, _INDICES - 1)
    if index + n > _INDICES:
        raise InvalidInput(
            f"first_index: expected integers in 0 .. 2^32 - 1 for all {n} samples, got {index} .. "
            f"{index + n - 1}"
        )
    return Noise(checked, index)


def pair(name: str, values: object, most: int) -> tuple[int, int]:
    """Return two integers in 0 .. most.

    Raises:
        InvalidInput: `values` are not two integers in this range.
    """
    array = integers(name, values)
    if array.shape != (2,):
        raise InvalidInput(f"{name}: expected two integers, got {shown(values)}")
    check_range(name, array, 0, most)
    return int(array[0]), int(array[1])


def sampling(value: object, levels: int | None = None) -> Sampling:
    """Return the settings of a draw.

    Args:
        value: the settings.
        levels: number of the model's values, if it is known.

    Raises:
        InvalidInput: `value` is not a `Sampling`, or its bias does not fit the model.
    """
    if not isinstance(value, Sampling):
        raise InvalidInput(f"sampling: expected a Sampling, got {shown(value)}")
    if levels is not None:
        value.check(levels)
    return value


def choice(name: str, value: object, choices: Sequence[str]) -> str:
    """Return a string that is one of `choices`.

    Raises:
        InvalidInput: `value` is something else.
    """
    if not isinstance(value, str) or value not in choices:
        raise InvalidInput(f"{name}: expected one of {list(choices)}, got {shown(value)}")
    return value


def flag(name: str, value: object) -> bool:
    """Return a bool, given as Python's or numpy's.

    Raises:
        InvalidInput: `value` is something else.
    """
    if not isinstance(value, bool):
        array = array_of(name, value)
        if array.ndim or array.dtype.kind != "b":
            raise InvalidInput(f"{name}: expected True or False, got {shown(value)}")
        return bool(array)
    return value


def callback(name: str, value: object) -> None:
    """Check that a callback is callable or None.

    Raises:
        InvalidInput: it is neither.
    """
    if value is not None and not callable(value):
        raise InvalidInput(f"{name}: expected a function or None, got {shown(value)}")


def members(name: str, values: object, *, ordered: bool) -> Iterator[Any]:
    """Iterate over a list, an array with axes, a generator or another iterable; not over text.

    Args:
        name: name of the argument, for errors.
        values: the iterable.
        ordered: whether the order matters; then a set is refused.

    Raises:
        InvalidInput: `values` is not an iterable, or is text, a mapping or a refused set.
    """
    text = isinstance(values, str | bytes | bytearray | Mapping)
    unordered = ordered and isinstance(values, Set)
    if text or unordered or not isinstance(values, Iterable):
        raise InvalidInput(
            f"{name}: expected a list, an array or another iterable of ids, got {shown(values)}"
        )
    with readable(name):
        return iter(values)
