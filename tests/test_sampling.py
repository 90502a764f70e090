"""Sampling settings: refused values, and settings that count as unfiltered."""

import math
from collections.abc import Callable

import numpy as np
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
        ("repetition_penalty", 0.0),
        ("repetition_penalty", -1.0),
        ("repetition_penalty", math.inf),
        ("repetition_penalty", math.nan),
        ("presence_penalty", 101.0),
        ("presence_penalty", -math.inf),
        ("frequency_penalty", math.nan),
        ("logit_bias", {-1: 1.0}),
        ("logit_bias", {1.5: 1.0}),
        ("logit_bias", {True: 1.0}),
        ("logit_bias", {"1": 1.0}),
        ("logit_bias", {1: math.inf}),
        ("logit_bias", {1: math.nan}),
        ("logit_bias", {1: 1001.0}),
        ("logit_bias", {1: "2"}),
        ("logit_bias", 3),
        ("logit_bias", "12"),
        ("logit_bias", [1, 2]),
        ("logit_bias", ((1, 2.0), (1, 3.0))),
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


def test_adjusted() -> None:
    """Bias and penalties are more than a temperature, are hashed, and do not change."""
    bias = {5: -1.0, 2: -math.inf}
    sampling = Sampling(temperature=0.5, logit_bias=bias)
    bias.clear()
    assert sampling.logit_bias == ((2, -math.inf), (5, -1.0))
    assert sampling.adjusted
    assert not sampling.only_temperature
    assert len({sampling, Sampling(0.5, logit_bias={2: -math.inf, 5: -1.0})}) == 1
    for off in ({}, {"logit_bias": {}}, {"repetition_penalty": 1}, {"presence_penalty": 0}):
        assert Sampling(**off).unfiltered
        assert not Sampling(**off).adjusted
    for name in ("repetition_penalty", "presence_penalty", "frequency_penalty"):
        assert Sampling(**{name: 0.5}).adjusted
        assert not Sampling(**{name: 0.5}).unfiltered


def test_bias_of_a_model() -> None:
    """A bias names values of the model, and leaves one of them."""
    Sampling(logit_bias={2: 1.0, 0: -math.inf, 1: -math.inf}).check(3)
    with pytest.raises(InvalidInput, match=r"logit_bias: expected an integer in 0 \.\. 1, got 2"):
        Sampling(logit_bias={2: 1.0}).check(2)
    with pytest.raises(InvalidInput, match=r"expected at least one value that is not banned"):
        Sampling(logit_bias=dict.fromkeys(range(3), -math.inf)).check(3)
    row = Sampling(logit_bias={2: 1.0}, frequency_penalty=0.5).settings(3)
    assert isinstance(row["logit_bias"], np.ndarray)
    assert (row["logit_bias"].tolist(), row["frequency_penalty"]) == ([0, 0, 1], 0.5)


@pytest.mark.usefixtures("called_by_users")
@pytest.mark.parametrize("make", [np.float32, np.float16, np.longdouble, np.array, np.ma.array])
def test_numbers_of_numpy(make: Callable[[float], float]) -> None:
    got = Sampling(temperature=make(0.5), top_p=make(0.75), min_p=make(0.25))
    assert got == Sampling(temperature=0.5, top_p=0.75, min_p=0.25)
    assert {type(each) for each in (got.temperature, got.top_p, got.min_p)} == {float}


@pytest.mark.usefixtures("called_by_users")
@pytest.mark.parametrize("make", [np.int64, np.uint8, np.array])
def test_integers_of_numpy(make: Callable[[int], int]) -> None:
    got = Sampling(top_k=make(2))
    assert (got, type(got.top_k)) == (Sampling(top_k=2), int)


@pytest.mark.usefixtures("called_by_users")
@pytest.mark.parametrize("value", [np.True_, "1", None, [0.5], np.timedelta64(1), 1j, 10**400])
def test_values_that_are_not_numbers(value: object) -> None:
    with pytest.raises(InvalidInput, match=r"temperature: expected a number.*got"):
        Sampling(temperature=value)  # type: ignore[arg-type]
