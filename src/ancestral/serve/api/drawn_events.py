"""Events that are drawn in slots, row by row, and put together as `sample` of an engine does."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.engine import Delta, Request
from ancestral.serve.api.arrays import by_sites
from ancestral.serve.api.jobs import Fields
from ancestral.units import bits_per_dim


@dataclass(frozen=True, slots=True)
class DrawnEvents:
    """Events to draw in slots.

    Attributes:
        data: the space of events.
        observed: values by positions, [n, t], -1 where free.
        labels: labels as the graphs take them, [n]; None without classes.
        requests: a request for each event.
    """

    data: DataSpec
    observed: NDArray[np.int64]
    labels: NDArray[np.int64] | None
    requests: Sequence[Request]

    @property
    def free(self) -> int:
        """Number of values that the slots report: those from the first free one of each event."""
        return int(np.logical_or.accumulate(self.observed < 0, axis=1).sum())

    def joined(self, parts: Sequence[Sequence[Delta]], *, positions: bool) -> Fields:
        """Return the fields of the answer.

        Args:
            parts: what was drawn of each event, in order.
            positions: whether the log-probability of each position is asked for.
        """
        values = self.observed.copy()
        log_p, log_q = (np.zeros(values.shape, np.float32) for _ in range(2))
        for row, deltas in enumerate(parts):
            at = 0
            for delta in deltas:
                if delta.prompt_log_p is not None:
                    at = len(delta.prompt_log_p)
                    log_p[row, :at] = delta.prompt_log_p
                new = slice(at, at + len(delta.values))
                values[row, new], log_p[row, new], log_q[row, new] = (
                    delta.values,
                    delta.log_p,
                    delta.log_q,
                )
                at = new.stop
        log_prob = log_p.sum(axis=1, dtype=np.float64)
        found = {
            "x": self.data.in_place(values),
            "log_prob": log_prob,
            "log_q": log_q.sum(axis=1, dtype=np.float64),
            "labels": self.labels,
            "seed": self.requests[0].seed,
            "first_index": self.requests[0].index,
            "bits_per_dim": bits_per_dim(log_prob, self.data.event_shape),
        }
        return found | ({"position_log_prob": by_sites(log_p, self.data)} if positions else {})
