"""`paired_mean`: means per position, standard errors over units, and how much data is enough."""

import numpy as np
import pytest

from ancestral.errors import InvalidInput
from ancestral.paired_mean import (
    PairedMean,
    checked_budget,
    paired_mean,
    too_little,
    units_needed,
)


def test_equal_units() -> None:
    """With units of one size it is the mean, and the textbook standard error of the mean."""
    sums = np.random.default_rng(0).normal(3.0, 2.0, 50)
    found = paired_mean(sums, np.full(50, 7))
    assert found.nats == pytest.approx(sums.mean() / 7)
    assert found.error == pytest.approx(sums.std(ddof=1) / 50**0.5 / 7)


def test_unequal_units() -> None:
    """The error of units of several sizes is the spread of the mean over repeated data."""
    random = np.random.default_rng(1)
    means, errors = [], []
    for _ in range(2000):
        positions = random.integers(1, 40, 60)
        # A unit has an effect of its own on each of its positions.
        sums = positions * random.normal(0.5, 1.0, 60) + random.normal(0, 0.3, 60)
        found = paired_mean(sums, positions)
        means.append(found.nats)
        errors.append(found.error)
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.06)


def test_units_needed() -> None:
    """A standard error falls with the root of the number of units; data are never too many."""
    assert units_needed(2e-3, 50, 1e-3) == 200
    assert units_needed(1e-4, 50, 1e-3) == 50
    assert units_needed(3e-4, 100, 1e-4) == 900
    random = np.random.default_rng(2)
    draws = random.normal(0, 1, 100_000)
    few = paired_mean(draws[:500], np.ones(500, np.int64))
    needed = units_needed(few.error, 500, few.error / 5)
    assert paired_mean(draws[:needed], np.ones(needed, np.int64)).error == pytest.approx(
        few.error / 5, rel=0.1
    )


def test_too_little() -> None:
    assert too_little(PairedMean(0.0, 1e-3, 50), 1e-3) is None
    sentence = too_little(PairedMean(0.0, 2e-4, 40), 1e-4, "windows")
    assert sentence == (
        "standard error 0.0002 over 40 windows is above the budget 0.0001; pass about 160 windows"
    )


@pytest.mark.parametrize("budget", [0.0, -1e-3, float("nan"), float("inf")])
def test_budget(budget: float) -> None:
    with pytest.raises(InvalidInput, match="budget: expected a number of nats above 0"):
        too_little(PairedMean(0.0, 1e-3, 50), budget)
    with pytest.raises(InvalidInput, match=r"--budget: expected"):
        checked_budget(budget, "--budget")


def test_too_few_units() -> None:
    with pytest.raises(InvalidInput, match="at least 2 events"):
        paired_mean(np.ones(1), np.ones(1, np.int64))
    with pytest.raises(InvalidInput, match="at least one position"):
        paired_mean(np.zeros(3), np.zeros(3, np.int64))
