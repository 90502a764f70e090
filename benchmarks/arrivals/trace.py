"""The trace of a stream: when each request arrived, and when its values were read."""

import heapq
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Heard:
    """One delta as its reader saw it.

    Attributes:
        request: position of the request in the workload.
        at: time of reading, in seconds from the start.
        values: number of new values.
        ended: whether it was the request's last delta.
        total: values of all requests up to the end of the round that this delta came from.
    """

    request: int
    at: float
    values: int
    ended: bool
    total: int


@dataclass(frozen=True)
class Trace:
    """One run of a stream.

    Attributes:
        slots: number of slots.
        arrived: time at which each request arrived, in order, in seconds from the start, [n].
        heard: deltas in the order in which they were read.

    Raises:
        ValueError: a request did not end once, or has a delta after its end.
    """

    slots: int
    arrived: Floats
    heard: tuple[Heard, ...]

    def __post_init__(self) -> None:
        last = {each.request: each for each in self.heard}
        ends = [each.request for each in self.heard if each.ended]
        if sorted(ends) != list(range(len(self.arrived))) or not all(
            each.ended for each in last.values()
        ):
            raise ValueError(f"trace: expected each of {len(self.arrived)} requests to end once")

    @property
    def values(self) -> int:
        """Number of values of all requests."""
        return sum(each.values for each in self.heard)

    @property
    def seconds(self) -> float:
        """Time at which the last request ended."""
        return float(self.ends.max())

    @cached_property
    def first_read(self) -> Floats:
        """Time at which the first value of each request was read, [n]."""
        return self._times([each for each in reversed(self.heard) if each.values])

    @cached_property
    def ends(self) -> Floats:
        """Time at which the last delta of each request was read, [n]."""
        return self._times([each for each in self.heard if each.ended])

    def _times(self, heard: list[Heard]) -> Floats:
        """Return the time of the last of these deltas of each request, [n]."""
        at = np.full(len(self.arrived), np.nan)
        for each in heard:
            at[each.request] = each.at
        return at

    @property
    def first_value(self) -> Floats:
        """Time from a request's arrival to its first value, waiting for a slot included, [n]."""
        return self.first_read - self.arrived

    @cached_property
    def begins(self) -> Floats:
        """Time at which each request could have a slot, first come first served, [n]."""
        free = [0.0] * self.slots
        begins = np.zeros(len(self.arrived))
        for i, arrived in enumerate(self.arrived):
            begins[i] = max(arrived, heapq.heappop(free))
            heapq.heappush(free, self.ends[i])
        return begins

    @property
    def idle_share(self) -> float:
        """Share of the slots' time without a request, until the last request has a slot.

        After that no request is left for a slot that becomes free.
        """
        until = self.begins.max()
        if until == 0:
            return 0.0
        busy = np.clip(self.ends, None, until) - np.clip(self.begins, None, until)
        return float(1 - busy.sum() / (self.slots * until))

    @cached_property
    def gaps(self) -> Floats:
        """Time between two deltas of a request that follow each other, of all requests."""
        return np.array([gap for gap, _ in self._gaps()])

    @cached_property
    def between(self) -> Floats:
        """Time per value after a request's first delta: the gap before it, divided by its values.

        A delta of m values counts m times.
        """
        each = [np.full(values, gap / values) for gap, values in self._gaps()]
        return np.concatenate([*each, np.zeros(0)])

    def _gaps(self) -> list[tuple[float, int]]:
        """Return the time before each delta but a request's first, and its number of values."""
        before: dict[int, float] = {}
        gaps = []
        for each in self.heard:
            if not each.values:
                continue
            if each.request in before:
                gaps.append((each.at - before[each.request], each.values))
            before[each.request] = each.at
        return gaps

    def saturated(self) -> tuple[float, int, NDArray[np.bool_]]:
        """Return the part of a run in which every slot that becomes free is refilled.

        Returns:
            Its length in seconds, up to the moment at which the last request gets a slot; the
            values drawn in it; and which requests have a value by then, [n].
        """
        until = float(self.begins.max())
        # Deltas of one round are read one after the other; what they drew is known at the first.
        total = max((each.total for each in self.heard if each.at <= until), default=0)
        return until, total, self.first_read <= until

    @property
    def capacity(self) -> float:
        """Requests per second while every slot that becomes free is refilled."""
        until, values, _ = self.saturated()
        return values / until / (self.values / len(self.arrived))
