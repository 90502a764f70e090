"""Data are cut into the same two halves every time, and no unit is in both."""

import numpy as np
import pytest

from ancestral.bundles.cost import Unit
from ancestral.errors import InvalidInput
from ancestral.precision.split import Data, halves


@pytest.mark.parametrize("unit", ["events", "windows"])
@pytest.mark.parametrize("n", [4, 5, 101])
def test_halves(unit: Unit, n: int) -> None:
    """Each unit is in one half; of an odd number, calibration has the one that is left."""
    chosen_by, held_out = halves(n, unit)
    assert sorted([*chosen_by.tolist(), *held_out.tolist()]) == list(range(n))
    assert (len(chosen_by), len(held_out)) == (n - n // 2, n // 2)


def test_rule() -> None:
    """Events alternate; windows of a text stay together."""
    assert [half.tolist() for half in halves(6, "events")] == [[0, 2, 4], [1, 3, 5]]
    assert [half.tolist() for half in halves(6, "windows")] == [[0, 1, 2], [3, 4, 5]]


def test_too_few() -> None:
    with pytest.raises(InvalidInput, match=r"data: expected at least 4 windows, .* got 3; pass"):
        halves(3, "windows")


def test_part() -> None:
    """Labels and lengths follow their events; a label of all events stays."""
    at = np.array([3, 1])
    data = Data(np.arange(8).reshape(4, 2), np.array([1, 2, 1, 2]), np.arange(4), "name", "0" * 64)
    part = data.part(at)
    assert part.x.tolist() == [[6, 7], [2, 3]]
    assert part.lengths is not None
    assert part.lengths.tolist() == [2, 2]
    assert np.asarray(part.labels).tolist() == [3, 1]
    assert (part.name, part.sha256) == ("name", "0" * 64)
    assert Data(np.zeros((4, 2)), labels=7).part(at).labels == 7
