"""Proposals for images by counts of how often a level followed its neighbours."""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import check_range, integers, shown
from ancestral.dataspec import DataSpec
from ancestral.engine.inputs import class_labels
from ancestral.engine.runner import Runner
from ancestral.engine.speculation.neighbourhood import (
    Gradient,
    Groups,
    Neighbourhood,
    steps_back,
)
from ancestral.engine.speculation.proposer import Proposals, Row
from ancestral.errors import InvalidInput

_PRIOR = 3.0
"""Counts that the distribution of the wider context is worth in the narrower one."""
_SMOOTHING = 0.02
"""Count of each level in the widest context before any event."""
_LARGEST = 2**26
"""Most numbers of a table."""
_TRIED = 1000
"""About the most events that choose the kind of cells: from these, and for as many others."""


class Table:
    """Proposes values of images from neighbouring values, the position and the label.

    It counts over given events how often each level follows, in contexts that narrow: the cell of
    the neighbours' levels; that at one position; that with one label. The counts of each are added
    to the distribution of the wider one. A proposal is what the uniform of its position draws from
    the narrowest, so that it agrees with the model's draw as often as the two overlap. Of two kinds
    of cells the one is taken with which half of some events predict the other half better.
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
        kinds: list[Neighbourhood] = [Groups(data.levels), Gradient(data.levels)]
        sizes = [classes * data.length * kind.cells * data.levels for kind in kinds]
        if sizes[0] > _LARGEST:
            raise InvalidInput(
                f"table: expected at most {_LARGEST:,} numbers, got {classes} labels x "
                f"{data.length} positions x {kinds[0].cells} pairs x {data.levels} levels; leave "
                f"out labels, or use another proposer"
            )
        back = steps_back(data)
        label = None if labels is None else class_labels(labels, len(x), classes)
        counted = _Events(data.in_order(x), label, back, data.levels, classes)
        fitting = [kind for kind, size in zip(kinds, sizes, strict=True) if size <= _LARGEST]
        self._kind = counted.best(fitting)
        sums = counted.counts(self._kind).cumsum(axis=1, dtype=np.float32)
        # A uniform is below 1, so that it draws a level.
        sums[:, -1] = 1
        self._sums = sums.reshape(-1, data.length * self._kind.cells * data.levels)
        self._back: list[list[int]] = back.tolist()
        self._reach = int(back.max())

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
        place = _Place(self._kind, self._back, self._reach, self._data.levels)
        yield _Draws(place, self._sums[label], row.u)


@dataclass(frozen=True, slots=True)
class _Events:
    """Events that are counted.

    Attributes:
        values: values by positions, [n, t].
        label: label of each, [n]; None counts those of all labels together.
        back: steps back to the neighbours of each position, [t, 3].
        levels: number of levels.
        classes: number of labels.
    """

    values: NDArray[np.int64]
    label: NDArray[np.int64] | None
    back: NDArray[np.int64]
    levels: int
    classes: int

    def best(self, kinds: Sequence[Neighbourhood]) -> Neighbourhood:
        """Return the kind of cells with which some events predict as many others best."""
        apart = max(len(self.values) // (2 * _TRIED), 1)
        first = self._part(slice(0, None, 2 * apart))
        second = self._part(slice(apart, None, 2 * apart))
        if len(kinds) == 1 or not len(second.values):
            return kinds[0]
        return max(kinds, key=lambda kind: second.log_p(kind, first.counts(kind)))

    def _part(self, some: slice) -> "_Events":
        label = None if self.label is None else self.label[some]
        return replace(self, values=self.values[some], label=label)

    def counts(self, kind: Neighbourhood) -> NDArray[np.float64]:
        """Return the distribution of each context, [c, v], by label, position and cell.

        With labels those without one follow, which have the counts of all.
        """
        place = self._places(kind)
        near = place % kind.cells
        p = np.full((kind.cells, self.levels), _SMOOTHING)
        p = _narrowed(p, near, self.values)
        p = _narrowed(_PRIOR * np.tile(p, (len(self.back), 1)), place, self.values)
        if self.label is None:
            return p
        labelled = place + len(p) * self.label[:, None]
        return np.concatenate(
            [_narrowed(_PRIOR * np.tile(p, (self.classes, 1)), labelled, self.values), p]
        )

    def log_p(self, kind: Neighbourhood, p: NDArray[np.float64]) -> float:
        """Return the log-probability of the events, in nats, by what `counts` returned."""
        place = self._places(kind)
        if self.label is not None:
            place = place + len(self.back) * kind.cells * self.label[:, None]
        return float(np.log(p[place, self.values]).sum())

    def _places(self, kind: Neighbourhood) -> NDArray[np.int64]:
        """Return position x cell of each value, [n, t]."""
        t = len(self.back)
        known = np.concatenate([self.values, np.full((len(self.values), 1), kind.missing)], axis=1)
        at = np.where(self.back > 0, np.arange(t)[:, None] - self.back, t)
        left, above, corner = (known[:, at[:, i]] for i in range(3))
        return kind.all_cells(left, above, corner) + kind.cells * np.arange(t)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where the counts of a position are: its neighbours, and the cells of their levels."""

    kind: Neighbourhood
    back: list[list[int]]
    reach: int
    levels: int


class _Draws:
    """Draws from the counts of one label with the row's own uniforms."""

    def __init__(self, place: _Place, sums: NDArray[np.float32], u: NDArray[np.float32]) -> None:
        # Single numbers of lists and of a memoryview are read faster than those of an array.
        self._place, self._sums, self._u = place, sums.data, u.tolist()

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        place = self._place
        kind, levels, missing = place.kind, place.levels, place.kind.missing
        end, first = min(position + most, len(values)), max(position - place.reach, 0)
        known: list[int] = values[first:position].tolist()
        for at in range(position, end):
            left, above, corner = place.back[at]
            cell = kind.cell(
                known[-left] if left else missing,
                known[-above] if above else missing,
                known[-corner] if corner else missing,
            )
            begin = (at * kind.cells + cell) * levels
            known.append(bisect_right(self._sums, self._u[at], begin, begin + levels) - begin)
        return np.array(known[position - first :], np.int64)


def _narrowed(
    prior: NDArray[np.float64], contexts: NDArray[np.int64], values: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the distribution of each context, [c, v]: a prior and the counts of the values."""
    levels = prior.shape[1]
    counts = np.bincount((contexts * levels + values).ravel(), minlength=prior.size)
    total: NDArray[np.float64] = counts.reshape(prior.shape) + prior
    total /= total.sum(axis=1, keepdims=True)
    return total
