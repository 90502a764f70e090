"""The workload: requests of mixed lengths, and the times at which they arrive."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.engine import Request
from ancestral.errors import InvalidInput
from ancestral.scalars import whole

LONGEST = 256
"""Longest prompt, and largest number of new values; half of a shorter context."""
SHORTEST_PROMPT = 8
FEWEST_NEW = 16


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests, and the times between their arrivals.

    Attributes:
        requests: request i is sample i; none has a stop value, so that each ends after `max_new`.
        gaps: time before each arrival, in units of the mean time between arrivals, [n].
    """

    requests: tuple[Request, ...]
    gaps: NDArray[np.float64]

    @classmethod
    def draw(cls, data: DataSpec, n: int, seed: int) -> Self:
        """Draw a workload; the same arguments give the same one.

        The length of a prompt is uniform in 8 .. 256 and the number of new values in 16 .. 256, or
        up to half of the context if that is less. Ids are uniform. Gaps are exponential with mean
        1, so arrivals are a Poisson process.

        Args:
            data: space of the events.
            n: number of requests.
            seed: seed of the lengths, ids, gaps and draws.

        Raises:
            InvalidInput: `n` or `seed` is out of range, or the context has less than 2 positions.
        """
        n, seed = whole("requests", n, 1), whole("seed", seed, 0, 2**64 - 1)
        longest = min(LONGEST, data.length // 2)
        if longest < 1:
            raise InvalidInput(f"case: expected at least 2 positions, got {data.length}")
        random = np.random.default_rng(seed)
        prompts = random.integers(min(SHORTEST_PROMPT, longest), longest + 1, n)
        new = random.integers(min(FEWEST_NEW, longest), longest + 1, n)
        gaps = random.exponential(size=n)
        requests = tuple(
            Request(
                random.integers(0, data.levels, prompts[i]),
                seed=seed,
                index=i,
                max_new=int(new[i]),
                stop=(),
            )
            for i in range(n)
        )
        return cls(requests, gaps)

    @property
    def prompts(self) -> NDArray[np.int64]:
        """Length of each prompt, [n]."""
        return np.array([np.size(request.prompt) for request in self.requests])

    @property
    def new(self) -> NDArray[np.int64]:
        """Number of values that each request draws, [n]."""
        return np.array([request.max_new for request in self.requests])

    def arrivals(self, rate: float | None) -> NDArray[np.float64]:
        """Return the time at which each request arrives, in seconds from the start, [n].

        Args:
            rate: requests per second; None lets all arrive at once.

        Raises:
            InvalidInput: `rate` is not positive and finite.
        """
        if rate is None:
            return np.zeros(len(self.gaps))
        if not 0 < rate < np.inf:
            raise InvalidInput(f"rate: expected a positive number, got {rate}")
        return np.cumsum(self.gaps) / rate
