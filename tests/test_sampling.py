"""Settings of a draw: what is refused, and what counts as unfiltered."""

import math

import pytest

from ancestral.errors import InvalidInput
from ancestral.sampling import Sampling


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", -0.1),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("top_k", 0),
        ("top_k", -1),
        ("top_k", True),
        ("top_p", 0.0),
        ("top_p", 1.1),
        ("top_p", math.nan),
        ("min_p", -0.1),
        ("min_p", 1.1),
        ("min_p", math.nan),
    ],
)
def test_refused(name: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=f"{name}: expected .*, got"):
        Sampling(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 0.0), ("top_k", 1), ("top_p", 1e-6), ("min_p", 1.0)],
)
def test_ends_of_the_ranges(name: str, value: float) -> None:
    assert not Sampling(**{name: value}).unfiltered


def test_unfiltered() -> None:
    assert Sampling().unfiltered
    assert Sampling(temperature=1.0, top_k=None, top_p=1.0, min_p=0.0).unfiltered
