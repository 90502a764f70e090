"""The data of a comparison: whole events, or windows of texts, as sequences by positions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import array_of, check_range, integers
from ancestral.bundles.cost import Unit
from ancestral.engine import inputs
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput
from ancestral.scalars import whole


@dataclass(frozen=True, slots=True)
class Sequences:
    """Checked data of a comparison.

    Attributes:
        x: values by positions, padded with 0 on the right, [n, t].
        lengths: number of values of each sequence, [n].
        unit: name of one sequence, in the plural.
    """

    x: Int64[np.ndarray, "n t"]
    lengths: Int64[np.ndarray, " n"]
    unit: Unit

    def predicted(self, first_position: int) -> Bool[np.ndarray, "n t"]:
        """Return which positions are in the data and have a probability, [n, t]."""
        at = np.arange(self.x.shape[1])
        return np.asarray((at >= first_position) & (at < self.lengths[:, None]))


def sequences(runner: Runner, data: ArrayLike, lengths: ArrayLike | None = None) -> Sequences:
    """Return data as sequences of a model.

    Args:
        runner: the engine.
        data: events, [n, *event_shape] or [n, t]; for a model of sequences also shorter ones,
            [n, t] with any t up to the model's length.
        lengths: number of values of each sequence that count, [n]; None means all of them.

    Raises:
        InvalidInput: the data are not events of the model, or a length is out of range.
    """
    spec = runner.data
    array = array_of("data", data)
    if array.ndim == 2 and len(spec.event_shape) == 1 and 0 < array.shape[1] < spec.length:
        x = integers("data", array)
    else:
        x = inputs.events(array, spec, "data")
    n, t = x.shape
    count = np.full(n, t) if lengths is None else integers("lengths", lengths)
    return positioned(runner, x, count)


def positioned(
    runner: Runner, x: Int64[np.ndarray, "n t"], lengths: Int64[np.ndarray, " n"]
) -> Sequences:
    """Return values by positions as sequences of a model.

    Args:
        runner: the engine.
        x: values by positions of the ordering.
        lengths: number of values of each sequence.

    Raises:
        InvalidInput: a sequence is longer than the model, a length is out of range, or a value is
            not a level.
    """
    n, t = x.shape
    if not n or t > runner.data.length:
        raise InvalidInput(
            f"data: expected sequences of at most {runner.data.length} values, the model's length, "
            f"got {n} of {t}; cut them into windows"
        )
    if lengths.shape != (n,):
        raise InvalidInput(f"lengths: expected one for each of {n} sequences, got {lengths.shape}")
    check_range("lengths", lengths, 1, t)
    x = np.where(np.arange(t) < lengths[:, None], x, 0)
    check_range("data", x, 0, runner.data.levels - 1)
    whole_events = runner.data.tokenizer is None and bool((lengths == runner.data.length).all())
    return Sequences(x, lengths, "events" if whole_events else "windows")


def windows(
    texts: Sequence[Sequence[int]], width: int, first_position: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut texts into windows that follow each other without overlap.

    Each window is a sequence of its own, which sees nothing of the one before it. The last window
    of a text may be shorter.

    >>> windows([[5, 6, 7], [8]], 2)[0].tolist()
    [[5, 6], [7, 0], [8, 0]]

    Args:
        texts: ids of each text, [n].
        width: number of ids of a window.
        first_position: the model's first position that has a probability. A window without any
            is left out.

    Returns:
        Ids, [m, width], padded with 0 on the right; and the number of ids of each window, [m].

    Raises:
        InvalidInput: `width` is too small, a text is not a sequence of ids, or no window is left.
    """
    size = whole("width", width, 1 + first_position)
    parts = []
    for i, text in enumerate(texts):
        ids = integers(f"text {i}", text)
        if ids.ndim != 1:
            raise InvalidInput(f"text {i}: expected a sequence of ids, [n], got {ids.shape}")
        pieces = (ids[at : at + size] for at in range(0, len(ids), size))
        parts += [piece for piece in pieces if len(piece) > first_position]
    if not parts:
        longest = max((len(text) for text in texts), default=0)
        raise InvalidInput(
            f"data: expected a text of at least {1 + first_position} tokens, got at most "
            f"{longest}; pass more text"
        )
    x = np.zeros((len(parts), size), np.int64)
    for row, part in zip(x, parts, strict=True):
        row[: len(part)] = part
    return x, np.array([len(part) for part in parts], np.int64)
