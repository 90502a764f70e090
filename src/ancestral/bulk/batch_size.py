"""Rows of a batch: several sizes are timed once, and the smallest of the fast ones is kept."""

import time
from collections.abc import Callable

from ancestral.bulk.computed import Computed

SIZES = (16, 32, 64, 128, 256)
"""Rows of a batch that are tried."""
CLOSE = 0.95
"""A size is fast if it has at least this share of the largest rate."""
_ENOUGH = 20.0
"""Seconds after which no larger size is tried."""


def measured_rows(
    computed: Computed, n: int | None, clock: Callable[[], float] = time.perf_counter
) -> int:
    """Return the smallest number of rows whose rate is within 5 % of the best.

    Each size is run twice and the faster run counts: the first one may load a graph. The size is
    kept in the job, so that a measurement never changes what is computed later.

    Args:
        computed: the rows of the job.
        n: number of rows; None for samples, of which there may be any number.
        clock: function that returns the time in seconds.
    """
    rates: dict[int, float] = {}
    begun = clock()
    for size in SIZES:
        if clock() - begun > _ENOUGH or (n is not None and size > n):
            break
        best = float("inf")
        for _ in range(2):
            start = clock()
            computed.columns(0, size)
            best = min(best, max(clock() - start, 1e-9))
            if best > _ENOUGH / 2:
                break
        rates[size] = size / best
    return fastest(rates) if rates else SIZES[0]


def fastest(rates: dict[int, float]) -> int:
    """Return the smallest size whose rate is close to the best.

    >>> fastest({16: 100.0, 32: 191.0, 64: 200.0, 128: 120.0})
    32
    """
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= CLOSE * best)
