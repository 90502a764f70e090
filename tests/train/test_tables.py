"""The two baselines are distributions, and have known results on the digits."""

import itertools

import numpy as np
import pytest

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.data import load_digits
from ancestral.train.data.dataset import Dataset, cut, fractional_split
from ancestral.train.evaluation import evaluate, independent_values, neighbour_table


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits()


def test_independent_pixels_on_the_digits(digits: Dataset) -> None:
    fit = independent_values(digits)
    result = evaluate(fit, digits.test, digits.spec, digits.label_log_prior())
    assert result.marginal.bits_per_dim == pytest.approx(2.43, abs=0.03)
    assert result.conditional is not None
    assert result.marginal.nats == pytest.approx(result.conditional.nats)


@pytest.mark.slow
def test_neighbour_table_on_the_digits(digits: Dataset) -> None:
    fit = neighbour_table(digits)
    result = evaluate(fit, digits.test, digits.spec, digits.label_log_prior())
    assert result.marginal.bits_per_dim == pytest.approx(2.09, abs=0.02)
    assert result.conditional is not None
    assert result.conditional.nats < result.marginal.nats


def toy(*, labels: bool) -> Dataset:
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    # The second row repeats the first, so the upper neighbour predicts it.
    row = rng.integers(0, 3, (60, 2))
    x = np.concatenate([row, row], axis=1)
    spec = DataSpec(name="toy", event_shape=(2, 2), levels=3, num_classes=2 if labels else None)
    return cut(spec, x, y if labels else None, fractional_split(60))


@pytest.mark.parametrize("labels", [True, False], ids=["labels", "no-labels"])
def test_probabilities_of_all_events_sum_to_one(labels: bool) -> None:
    data = toy(labels=labels)
    events = np.array(list(itertools.product(range(3), repeat=4)), dtype=np.int64)
    y = np.ones(len(events), np.int64) if labels else None
    for fit in (independent_values(data), neighbour_table(data)):
        assert np.exp(fit(events, y)).sum() == pytest.approx(1, abs=1e-5)


def test_table_sees_the_upper_neighbour_and_pixels_do_not() -> None:
    data = toy(labels=True)
    prior = data.label_log_prior()
    pixels = evaluate(independent_values(data), data.test, data.spec, prior)
    table = evaluate(neighbour_table(data), data.test, data.spec, prior)
    assert table.marginal.bits_per_dim < 0.75 * pixels.marginal.bits_per_dim


def test_fit_never_looks_at_the_test_part() -> None:
    data = toy(labels=True)
    y = data.test.label
    blind = Dataset(data.spec, data.split, data.train, data.validation, data.test.taken(slice(0)))
    for fit in (independent_values, neighbour_table):
        assert np.array_equal(fit(blind)(data.test.x, y), fit(data)(data.test.x, y))


def test_table_refuses_events_that_are_not_images() -> None:
    spec = DataSpec(name="toy", event_shape=(4,), levels=3)
    data = cut(spec, np.zeros((9, 4), np.int64), None, fractional_split(9))
    with pytest.raises(InvalidInput, match=r"\[height, width\]"):
        neighbour_table(data)
