"""Estimates are compared with explicit enumeration; units are right."""

import doctest
import itertools
import math

import numpy as np
import pytest
import torch

import ancestral.units
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.train.data.dataset import Part
from ancestral.train.evaluation import estimate, evaluate, evaluate_model, model_log_prob
from ancestral.train.models.transformer import Transformer
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.units import bits_per_dim

SPEC = DataSpec(name="toy", event_shape=(1, 3), levels=2, num_classes=2)
EVENTS = np.array(list(itertools.product(range(2), repeat=3)), dtype=np.int64)


def toy() -> Transformer:
    torch.manual_seed(3)
    return Transformer(TransformerConfig(width=8, layers=1, heads=2, dropout=0.5), SPEC).train()


def test_units_doctest() -> None:
    result = doctest.testmod(ancestral.units)
    assert result.attempted > 0
    assert result.failed == 0


def test_bits_per_dim_of_a_uniform_distribution_is_log2_of_the_levels() -> None:
    nats = np.full(3, -12 * math.log(17.0))
    assert bits_per_dim(nats, (3, 4)) == pytest.approx(math.log2(17))
    with pytest.raises(InvalidInput, match="at least one dimension"):
        bits_per_dim(nats, (3, 0))


def test_marginal_is_the_sum_over_labels_by_explicit_enumeration() -> None:
    model, prior = toy(), np.array([0.3, 0.7])
    y = np.array([0, 1, 1, 0, 0, 1, 0, 1])
    result = evaluate_model(model, Part(EVENTS, y), np.log(prior))
    model.eval()
    tables = []
    for label in range(2):
        # p(x | y) as a product of softmax entries, one event and one position at a time.
        table = np.ones(len(EVENTS))
        for n, event in enumerate(EVENTS):
            with torch.no_grad():
                logits = model.logits(torch.from_numpy(event[None]), torch.tensor([label]))[0]
            for t in range(3):
                table[n] *= float(logits[t].double().softmax(0)[event[t]])
        assert table.sum() == pytest.approx(1, abs=1e-6)
        tables.append(table)
    marginal = prior[0] * tables[0] + prior[1] * tables[1]
    own = np.where(y == 0, tables[0], tables[1])
    assert result.marginal.nats == pytest.approx(-np.log(marginal).mean(), abs=1e-5)
    assert result.conditional is not None
    assert result.conditional.nats == pytest.approx(-np.log(own).mean(), abs=1e-5)
    assert result.marginal.bits_per_dim == pytest.approx(-np.log2(marginal).mean() / 3, abs=1e-5)


def test_standard_error_is_that_of_the_mean() -> None:
    log_prob = np.array([-1.0, -2.0, -4.0, -9.0])
    result = estimate(log_prob, SPEC)
    variance = ((log_prob - log_prob.mean()) ** 2).sum() / 3
    assert result.nats == 4.0
    assert result.nats_error == pytest.approx(math.sqrt(variance / 4))
    assert result.bits_per_dim_error == pytest.approx(result.nats_error / (3 * math.log(2)))
    assert result.count == 4
    assert estimate(log_prob[:1], SPEC).nats_error == math.inf


def test_standard_error_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(400):
        result = estimate(rng.normal(-5.0, 2.0, 50), SPEC)
        inside += abs(result.nats - 5.0) < 1.96 * result.nats_error
    assert 0.91 <= inside / 400 <= 0.975


def test_dropout_is_off_in_evaluation_and_the_mode_comes_back() -> None:
    model = toy()
    log_prob = model_log_prob(model, batch=3)
    y = np.zeros(len(EVENTS), np.int64)
    first, second = log_prob(EVENTS, y), log_prob(EVENTS, y)
    assert np.array_equal(first, second)
    assert np.exp(first).sum() == pytest.approx(1, abs=1e-6)
    assert model.training


def test_without_labels_there_is_no_conditional() -> None:
    def fair(x: np.ndarray, label: np.ndarray | None) -> np.ndarray:
        assert label is None
        return np.full(len(x), -3 * math.log(2))

    result = evaluate(fair, Part(EVENTS, None), SPEC)
    assert result.conditional is None
    assert result.marginal.bits_per_dim == pytest.approx(1)


def test_evaluate_refuses_an_empty_part_and_a_missing_prior() -> None:
    y = np.zeros(len(EVENTS), np.int64)
    with pytest.raises(InvalidInput, match="at least one event"):
        evaluate(model_log_prob(toy()), Part(EVENTS[:0], y[:0]), SPEC, np.zeros(2))
    with pytest.raises(InvalidInput, match="label_log_prior: expected"):
        evaluate(model_log_prob(toy()), Part(EVENTS, y), SPEC, None)
