"""Mean of paired differences per position, and its standard error over independent units.

A unit is a whole event or a window of text. Its positions are not independent: a model that misses
one value often misses its neighbours too. So the standard error comes from the sums of units. With
sums d_i over m_i positions each, the mean is R = sum d_i / sum m_i, and by linearisation

    error^2 = n / (n - 1) * sum (d_i - R m_i)^2 / (sum m_i)^2

which is the standard error of the mean of d_i / m if all m_i are m.

References:
    Cochran (1977), Sampling techniques, section 2.11, the ratio estimator; Miller (2024), Adding
    error bars to evals, arXiv:2411.00640, section 2.2, clustered standard errors.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int64

from ancestral.errors import InvalidInput
from ancestral.scalars import real, whole


class PairedMean(NamedTuple):
    """A mean difference and its standard error.

    Attributes:
        nats: mean difference per position, in nats.
        error: its standard error, over units.
        units: number of units.
    """

    nats: float
    error: float
    units: int


def paired_mean(sums: Float[np.ndarray, " n"], positions: Int64[np.ndarray, " n"]) -> PairedMean:
    """Return the mean difference per position, and its standard error over units.

    >>> paired_mean(np.array([2.0, 4.0]), np.array([2, 2]))
    PairedMean(nats=1.5, error=0.5, units=2)

    Args:
        sums: sum of the differences of each unit, in nats.
        positions: number of positions of each unit.

    Raises:
        InvalidInput: there are fewer than 2 units, or no positions.
    """
    n, total = len(sums), int(positions.sum())
    if n < 2:
        raise InvalidInput(
            f"data: expected at least 2 events or windows for a standard error, got {n}; pass more "
            f"data, or shorter windows"
        )
    if not total:
        raise InvalidInput("data: expected at least one position to compare, got 0; pass more data")
    mean = float(sums.sum()) / total
    rest = sums - mean * positions
    error = math.sqrt(n / (n - 1) * float(np.square(rest).sum())) / total
    return PairedMean(mean, error, n)


def units_needed(error: float, units: int, budget: float) -> int:
    """Return about how many units in all have a standard error of at most the budget.

    A standard error falls with the square root of the number of units.

    >>> units_needed(3e-4, 100, 1e-4)
    900

    Args:
        error: standard error over the units, in any unit of measurement.
        units: number of units that it comes from.
        budget: standard error that is wanted, in the same unit.

    Raises:
        InvalidInput: the budget is not a positive number.
    """
    wanted = checked_budget(budget)
    count = whole("units", units, 1, 2**63 - 1)
    # Rounded first, so that 900.0000001 is not 901.
    return max(count, math.ceil(round(count * (error / wanted) ** 2, 6)))


def too_little(found: PairedMean, budget: float, unit: str = "events") -> str | None:
    """Return a sentence if the data are too few to decide about a budget; otherwise None.

    >>> too_little(PairedMean(0.0, 2e-3, 50), 1e-3)
    'standard error 0.002 over 50 events is above the budget 0.001; pass about 200 events'

    Args:
        found: a mean difference.
        budget: largest loss that is accepted, in nats per position.
        unit: name of the units, in the plural.

    Raises:
        InvalidInput: the budget is not a positive number.
    """
    if found.error <= checked_budget(budget):
        return None
    needed = units_needed(found.error, found.units, budget)
    return (
        f"standard error {found.error:.3g} over {found.units:,} {unit} is above the budget "
        f"{budget:.3g}; pass about {needed:,} {unit}"
    )


def checked_budget(value: object, name: str = "budget", unit: str = "nats") -> float:
    """Return a budget per position.

    Raises:
        InvalidInput: it is not a finite number above 0.
    """
    found = real(name, value)
    if not 0 < found < math.inf:
        raise InvalidInput(f"{name}: expected a number of {unit} above 0, got {found}")
    return found
