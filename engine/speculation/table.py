"""Proposals for images by counts of how often a level followed its neighbours."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import check_range, integers, shown
from ancestral.dataspec import DataSpec
from ancestral.engine.inputs import class_labels
from ancestral.engine.runner import Runner
from ancestral.engine.speculation.proposer import Proposals, Row
from ancestral.errors import InvalidInput

_GROUPS = 4
"""Groups of levels that a neighbour may be in."""
_PAIRS = (_GROUPS + 1) ** 2
"""Pairs of neighbours; a neighbour may be missing."""
_PRIOR = 3.0
"""Counts that the distribution of the wider context is worth in the narrower one."""
_SMOOTHING = 0.02
"""Count of each level in the widest context before any event."""
_LARGEST = 2**26
"""Most numbers of a table."""


class Table:
    """Proposes values of images from the values to the left and above, the position and the label.

    It counts over given events how often each level follows, in contexts that narrow: the groups of
    the two neighbours; these at one position; these with one label. The counts of each are added to
    the distribution of the wider one. A proposal is what the uniform of its position draws from the
    narrowest, so that it agrees with the model's draw as often as the two overlap.
    """

    name = "table"

    def __init__(self, events: ArrayLike, data: DataSpec, labels: ArrayLike | None = None) -> None:
        """Count the events.

        Args:
            events: events, [n, *event_shape], for example training data, or samples.
            data: space of the events; its last two axes are rows and columns.
            labels: label of each event, [n]; None counts the events of all labels together.

        Raises:
            InvalidInput: the events have another shape or other levels or a single axis, the labels
                do not fit, or the table would be too large.
        """
        x = integers("events", events)
        if x.shape[1:] != data.event_shape or len(data.event_shape) < 2 or not len(x):
            raise InvalidInput(
                f"events: expected at least one event {list(data.event_shape)} with rows and "
                f"columns, got {list(x.shape)}"
            )
        check_range("events", x, 0, data.levels - 1)
        if labels is not None and data.num_classes is None:
            raise InvalidInput("labels: the data have none; leave them out")
        self._data, self._labelled = data, labels is not None
        classes = (data.num_classes or 1) if self._labelled else 1
        if classes * data.length * _PAIRS * data.levels > _LARGEST:
            raise InvalidInput(
                f"table: expected at most {_LARGEST:,} numbers, got {classes} labels x "
                f"{data.length} positions x {_PAIRS} pairs x {data.levels} levels; leave out "
                f"labels, or use another proposer"
            )
        neighbours = _neighbours(data)
        # How far back the two neighbours of each position are; 0 where there is none.
        back = np.where(neighbours < data.length, np.arange(data.length)[:, None] - neighbours, 0)
        self._back: list[list[int]] = back.tolist()
        self._reach = int(back.max())
        self._groups = [level * _GROUPS // data.levels for level in range(data.levels)]
        flat = data.in_order(x)
        outside = np.concatenate([flat, np.full((len(x), 1), -1)], axis=1)
        group = np.where(outside < 0, _GROUPS, outside * _GROUPS // data.levels)
        left, above = group[:, neighbours[:, 0]], group[:, neighbours[:, 1]]
        near = left * (_GROUPS + 1) + above
        place = near + _PAIRS * np.arange(data.length)
        p = _narrowed(np.full((_PAIRS, data.levels), _SMOOTHING), near, flat)
        p = _narrowed(_PRIOR * np.tile(p, (data.length, 1)), place, flat)
        if labels is not None:
            label = class_labels(labels, len(x), classes)[:, None]
            labelled = _narrowed(_PRIOR * np.tile(p, (classes, 1)), place + len(p) * label, flat)
            # An event without a label has the counts of all.
            p = np.concatenate([labelled, p])
        sums = p.cumsum(axis=1, dtype=np.float32)
        # A uniform is below 1, so that it draws a level.
        sums[:, -1] = 1
        self._sums = sums.reshape(-1, data.length * _PAIRS * data.levels)

    def check(self, runner: Runner) -> None:
        for name in ("event_shape", "levels", "ordering", "num_classes"):
            here, there = getattr(self._data, name), getattr(runner.data, name)
            if here != there:
                raise InvalidInput(
                    f"table: expected {name} {shown(there)}, the model's, got {shown(here)}"
                )

    def seconds(self) -> float:
        return 0.0

    @contextmanager
    def begin(self, row: Row) -> Iterator[Proposals]:
        label = 0 if row.label is None or not self._labelled else int(row.label[0])
        yield _Draws(self._sums[label], self._groups, self._back, self._reach, row.u)


class _Draws:
    """Draws from the counts of one label with the row's own uniforms."""

    def __init__(
        self,
        sums: NDArray[np.float32],
        groups: list[int],
        back: list[list[int]],
        reach: int,
        u: NDArray[np.float32],
    ) -> None:
        # Single numbers of lists and of a memoryview are read faster than those of an array.
        self._sums, self._u = sums.data, u.tolist()
        self._groups, self._back, self._reach = groups, back, reach

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        groups, levels = self._groups, len(self._groups)
        end, first = min(position + most, len(values)), max(position - self._reach, 0)
        known: list[int] = values[first:position].tolist()
        for at in range(position, end):
            left, above = self._back[at]
            pair = groups[known[-left]] if left else _GROUPS
            pair = pair * (_GROUPS + 1) + (groups[known[-above]] if above else _GROUPS)
            begin = (at * _PAIRS + pair) * levels
            known.append(bisect_right(self._sums, self._u[at], begin, begin + levels) - begin)
        return np.array(known[position - first :], np.int64)


def _neighbours(data: DataSpec) -> NDArray[np.int64]:
    """Return the position to the left of each position and the one above it, [t, 2].

    A neighbour that does not exist, or comes later in the order, is t.
    """
    t, sites = data.length, np.arange(data.length).reshape(data.event_shape)
    left, above = np.full_like(sites, t), np.full_like(sites, t)
    left[..., 1:], above[..., 1:, :] = sites[..., :-1], sites[..., :-1, :]
    # The position of each site; t for a neighbour that does not exist.
    position = np.append(np.argsort(data.order), t)
    found = np.stack([position[site.reshape(t)[data.order]] for site in (left, above)], axis=1)
    return np.where(found < np.arange(t)[:, None], found, t)


def _narrowed(
    prior: NDArray[np.float64], contexts: NDArray[np.int64], values: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the distribution of each context, [c, v]: a prior and the counts of the values."""
    levels = prior.shape[1]
    counts = np.bincount((contexts * levels + values).ravel(), minlength=prior.size)
    total: NDArray[np.float64] = counts.reshape(prior.shape) + prior
    total /= total.sum(axis=1, keepdims=True)
    return total
