"""A source with a known distribution: sequences of an order-2 Markov chain over 5 symbols.

A model of it can be compared with the truth exactly. The space of events is small enough to
enumerate, so both divergences are sums over all events, without sampling error.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.train.data.dataset import Dataset, cut, random_split
from ancestral.train.evaluation import LogProb, model_log_prob
from ancestral.train.models.table import Table, TableConfig

SYMBOLS, LENGTH = 5, 7
_CONCENTRATION = 0.4
"""Concentration of the Dirichlet distribution of the chain's rows: uneven, without zeros."""


@dataclass(frozen=True, slots=True)
class Divergences:
    """A model compared with the source, in bits per event.

    Attributes:
        entropy: H(source), the lower bound of the cross-entropy.
        cross_entropy: E_source[-log2 p_model].
        excess: their difference, KL(source || model), which maximum likelihood minimises.
        reverse: KL(model || source), which maximum likelihood does not minimise.
        own: E_model[-log2 p_model], the entropy of the model. A model that degrades when it reads
            its own samples (exposure bias) shows it in `foreign`, not here.
        foreign: E_model[-log2 p_source], the model's samples under the source.
    """

    entropy: float
    cross_entropy: float
    excess: float
    reverse: float
    own: float
    foreign: float


def known_source(seed: int = 0) -> Table:
    """Return the source: an order-2 table, its rows drawn from a Dirichlet by the seed."""
    data = DataSpec(name="order-2 source", event_shape=(LENGTH,), levels=SYMBOLS)
    table = Table(TableConfig(neighbours=((-1,), (-2,))), data).eval()
    rows = np.random.default_rng(seed).dirichlet([_CONCENTRATION] * SYMBOLS, len(table.table))
    logits = np.log((rows + 1e-3) / (1 + SYMBOLS * 1e-3))
    with torch.no_grad():
        table.table.copy_(torch.from_numpy(logits))
    return table


def sample(source: Table, n: int, seed: int) -> NDArray[np.int64]:
    """Draw n events [n, t] from the source."""
    rng = np.random.default_rng(seed)
    x = np.zeros((n, LENGTH), np.int64)
    for t in range(LENGTH):
        with torch.no_grad():
            p = source.logits(torch.from_numpy(x), None)[:, t].double().softmax(-1).numpy()
        x[:, t] = (p.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1).clip(max=SYMBOLS - 1)
    return x


def source_data(n: int, seed: int = 0) -> Dataset:
    """Return n events of the source: 80% for training, 10% for validation, 10% for test."""
    source = known_source()
    part = max(1, n // 10)
    return cut(
        source.data, sample(source, n, seed), None, random_split(n, test=part, validation=part)
    )


def divergences(model: LogProb, source: Table | None = None) -> Divergences:
    """Compute the divergences exactly, by enumerating all events.

    Args:
        model: function that returns log p(x) of events of the source's shape, in nats.
        source: the source; None means `known_source(0)`.
    """
    events = np.array(list(product(range(SYMBOLS), repeat=LENGTH)), dtype=np.int64)
    true = model_log_prob(known_source() if source is None else source, 4096)(events, None)
    other = model(events, None)
    p, q = np.exp(true), np.exp(other)
    bits = 1 / np.log(2)
    entropy, own = -(p @ true) * bits, -(q @ other) * bits
    cross, foreign = -(p @ other) * bits, -(q @ true) * bits
    return Divergences(entropy, cross, cross - entropy, foreign - own, own, foreign)
