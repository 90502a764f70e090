"""The known source: samples follow its distribution, and divergences have their known values."""

import numpy as np
import pytest
import torch

from ancestral.train.evaluation import fit_table, model_log_prob
from ancestral.train.known_source import (
    LENGTH,
    SYMBOLS,
    divergences,
    known_source,
    sample,
    source_data,
)
from ancestral.train.models.table import TableConfig


def test_nothing_beats_the_source() -> None:
    """The source has no divergence from itself; a uniform model costs log2(events) bits."""
    own = divergences(model_log_prob(known_source(), 4096))
    assert abs(own.excess) < 1e-6
    assert abs(own.reverse) < 1e-6
    assert own.entropy < LENGTH * np.log2(SYMBOLS)
    uniform = divergences(lambda x, label: np.full(len(x), -LENGTH * np.log(SYMBOLS)))
    assert uniform.cross_entropy == pytest.approx(LENGTH * np.log2(SYMBOLS), abs=1e-5)
    assert uniform.excess == pytest.approx(uniform.cross_entropy - own.entropy, abs=1e-5)


def test_samples_are_the_sources() -> None:
    """The mean cost of samples is the entropy, within four standard errors."""
    source = known_source()
    x = sample(source, 4000, seed=3)
    bits = -model_log_prob(source)(x, None) / np.log(2)
    error = bits.std(ddof=1) / np.sqrt(len(bits))
    assert abs(bits.mean() - divergences(model_log_prob(source, 4096)).entropy) < 4 * error


def test_order_2_is_enough_and_order_1_is_not() -> None:
    """Excess bits fall to almost nothing at the source's order; both divergences are above 0."""
    data = source_data(3000)
    found = []
    for order in (1, 2):
        config = TableConfig(neighbours=tuple((-i,) for i in range(1, order + 1)))
        found.append(divergences(model_log_prob(fit_table(config, data), 4096)))
    assert found[1].excess < 0.05 < 1 < found[0].excess
    assert all(each.excess > 0 and each.reverse > 0 for each in found)
    assert found[0].reverse > found[0].excess, "the two directions differ"


def test_a_wrong_shift_is_noticed() -> None:
    """Planted fault: a model that is given the future in place of the past."""
    source = known_source()

    def reversed_events(x: np.ndarray, label: None) -> np.ndarray:
        with torch.no_grad():
            return source.log_prob(torch.from_numpy(x[:, ::-1].copy()), None).double().numpy()

    assert divergences(reversed_events).excess > 1
