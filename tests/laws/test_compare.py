"""Law: the measured loss of a bundle is the expected difference in log p, per position.

A model compared with itself loses exactly nothing; swapping two models changes the sign. On data
that are drawn from the source, the loss is KL(source || bundle), which tables have in closed form.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine
from ancestral.engine.losses import compare
from ancestral.export.bundle import export_bundle
from ancestral.loss_measurement import Comparison
from ancestral.train.models.table import Table, TableConfig

from .laws import events

LEVELS, LENGTH = 3, 12
STAY = 0.9
STICKY = 0.99
"""Probability of staying in data that are not the source's. There the positions of an event are far
from independent. In the source's own data they nearly are: log p - log q has no correlation over
time once its mean given the past is taken away."""
CHANGED = (0.8, -0.8, 0.3)
"""Amount that the bundle adds to the logit of staying at each level."""
EVENTS = 4000

Matrix = NDArray[np.float64]
Load = Callable[..., Engine]


def loss_is_zero(found: Comparison) -> None:
    """Check that every number of a comparison of a model with itself is exactly that of no loss."""
    cost = found.cost("law")
    assert (cost.loss_nats, cost.loss_error, cost.worst) == (0.0, 0.0, ())
    assert cost.bits_per_dim == cost.source_bits_per_dim
    if cost.quantity == "log_prob":
        assert (cost.kl_mean, cost.kl_median, cost.kl_999, cost.rms_delta_p) == (0, 0, 0, 0)
        assert (cost.same_top, cost.draws_differ) == (1.0, 0.0)


def test_itself(engine: AutoregressiveEngine) -> None:
    x, label = events(engine, 6)
    loss_is_zero(compare(engine, engine, engine.data.in_place(x), label, seed=3))


def test_itself_latent(latent_engine: LatentEngine) -> None:
    x, _ = events(latent_engine, 5)
    loss_is_zero(compare(latent_engine, latent_engine, x, k=4))


def test_itself_planted(load: Load, toy: str) -> None:
    """Another backend computes other bits, which are a loss that is not exactly 0."""
    bundle, source = (load(toy, each) for each in ("torch", "onnxruntime"))
    x, label = events(bundle, 6)
    with pytest.raises(AssertionError):
        loss_is_zero(compare(bundle, source, bundle.data.in_place(x), label))


def antisymmetric(found: Comparison, back: Comparison) -> None:
    """Check that a comparison with the two models swapped has the opposite sign."""
    cost, swapped = found.cost("law"), back.cost("law")
    assert cost.loss_nats == -swapped.loss_nats != 0
    assert cost.loss_error == swapped.loss_error
    assert (cost.bits_per_dim, cost.source_bits_per_dim) == (
        swapped.source_bits_per_dim,
        swapped.bits_per_dim,
    )
    for name in ("rms_delta_p", "same_top", "draws_differ"):
        assert getattr(cost, name) == getattr(swapped, name)
    assert [(w.index, w.position, w.nats) for w in cost.worst] == [
        (w.index, w.position, -w.nats) for w in swapped.worst
    ]


def test_antisymmetric(load: Load, toy: str) -> None:
    bundle, source = (load(toy, each) for each in ("torch", "onnxruntime"))
    x, label = events(bundle, 6)
    x = bundle.data.in_place(x)
    found, back = compare(bundle, source, x, label), compare(source, bundle, x, label)
    antisymmetric(found, back)
    with pytest.raises(AssertionError):
        antisymmetric(found, found)


def test_antisymmetric_latent(load: Load) -> None:
    bundle, source = (load("bernoulli", each) for each in ("torch", "onnxruntime"))
    x, _ = events(bundle, 5)
    found, back = compare(bundle, source, x, k=4), compare(source, bundle, x, k=4)
    antisymmetric(found, back)
    with pytest.raises(AssertionError):
        antisymmetric(found, found)


@dataclass(frozen=True, slots=True)
class Chains:
    """Two Markov chains as tables: the source and the bundle, which stays longer at some levels.

    Attributes:
        source: engine of the source.
        bundle: engine of the bundle.
        p: transitions of the source, [v, v]; the first value is uniform.
        q: transitions of the bundle.
        x: events drawn from the source, in float64 and by numpy.
    """

    source: Engine
    bundle: Engine
    p: Matrix
    q: Matrix
    x: NDArray[np.int64]

    @property
    def kl(self) -> Matrix:
        """KL of the next value after each level, in nats, [v]."""
        return np.asarray((self.p * np.log(self.p / self.q)).sum(axis=1))

    @property
    def loss(self) -> float:
        """KL of whole events, per position."""
        at = np.full(LEVELS, 1 / LEVELS)
        total = 0.0
        for _ in range(LENGTH - 1):
            total += float(at @ self.kl)
            at = at @ self.p
        return total / LENGTH

    def differ(self) -> Matrix:
        """Probability that one uniform draws two values after each level, [v]."""
        low = [np.hstack([np.zeros((LEVELS, 1)), each.cumsum(axis=1)]) for each in (self.p, self.q)]
        overlap = np.minimum(low[0][:, 1:], low[1][:, 1:]) - np.maximum(
            low[0][:, :-1], low[1][:, :-1]
        )
        return np.asarray(1 - np.maximum(overlap, 0).sum(axis=1))

    def error(self) -> float:
        """Standard deviation of the mean loss of EVENTS sticky events, from 200,000 of them."""
        x = drawn(staying(STICKY), 200_000, 5)
        ratio = np.log(self.p / self.q)[x[:, :-1], x[:, 1:]].sum(axis=1) / LENGTH
        return float(ratio.std() / EVENTS**0.5)


def staying(probability: float) -> Matrix:
    """Return the transitions of a chain that stays at each level with this probability."""
    found = np.full((LEVELS, LEVELS), (1 - probability) / (LEVELS - 1))
    np.fill_diagonal(found, probability)
    return found


def drawn(transitions: Matrix, n: int, seed: int) -> NDArray[np.int64]:
    """Draw events of a chain by numpy."""
    random = np.random.default_rng(seed)
    x = random.integers(0, LEVELS, (n, LENGTH))
    for t in range(1, LENGTH):
        edges = transitions.cumsum(axis=1)[x[:, t - 1]]
        x[:, t] = (random.random((n, 1)) > edges[:, :-1]).sum(axis=1)
    return x


def _exported(transitions: Matrix, folder: Path) -> Engine:
    data = DataSpec(name="chain", event_shape=(LENGTH,), levels=LEVELS)
    table = Table(TableConfig(neighbours=((-1,),)), data)
    with torch.no_grad():
        first = np.full((1, LEVELS), 1 / LEVELS)
        table.table.copy_(torch.from_numpy(np.log(np.vstack([transitions, first]))))
    export_bundle(table.eval(), folder, graphs=("log_prob", "logits", "redraw", "step"))
    return Engine.load(folder, threads=1)


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Chains:
    folder = tmp_path_factory.mktemp("chains")
    p = staying(STAY)
    q = p * np.exp(np.diag(CHANGED))
    q /= q.sum(axis=1, keepdims=True)
    return Chains(_exported(p, folder / "p"), _exported(q, folder / "q"), p, q, drawn(p, EVENTS, 2))


@pytest.fixture(scope="module")
def measured(chains: Chains) -> Comparison:
    return compare(chains.bundle, chains.source, chains.x, seed=1)


def known_loss(found: Comparison, chains: Chains) -> None:
    """Check the loss against the closed form: within 4 standard errors of it."""
    assert abs(found.loss.nats - chains.loss) <= 4 * found.loss.error, (found.loss, chains.loss)
    assert chains.loss > 12 * found.loss.error


def test_known_loss(measured: Comparison, chains: Chains) -> None:
    known_loss(measured, chains)


def test_known_loss_planted(measured: Comparison, chains: Chains) -> None:
    """A wrong sign, bits instead of nats, and sums over one position too few are found."""
    bits = {name: getattr(measured, name) / np.log(2) for name in ("source", "bundle")}
    for fault in (
        {"source": measured.bundle, "bundle": measured.source},
        bits,
        {"positions": measured.positions * 2},
    ):
        with pytest.raises(AssertionError):
            known_loss(replace(measured, **fault), chains)


def known_error(found: Comparison, chains: Chains) -> None:
    """Check the standard error against that of means of events, within 10%."""
    assert found.loss.error == pytest.approx(chains.error(), rel=0.1)


@pytest.fixture(scope="module")
def sticky(chains: Chains) -> Comparison:
    return compare(chains.bundle, chains.source, drawn(staying(STICKY), EVENTS, 3))


def test_known_error(sticky: Comparison, chains: Chains) -> None:
    known_error(sticky, chains)


def test_known_error_planted(sticky: Comparison, chains: Chains) -> None:
    """Positions counted as independent give a standard error that is much too small."""
    flat = {name: getattr(sticky, name).reshape(-1, 1) for name in ("source", "bundle", "counted")}
    ones = np.ones(EVENTS * LENGTH, np.int64)
    wrong = replace(sticky, **flat, positions=ones, distributions=None)
    assert wrong.loss.nats == pytest.approx(sticky.loss.nats)
    assert wrong.loss.error < sticky.loss.error / 2
    with pytest.raises(AssertionError):
        known_error(wrong, chains)


def known_distributions(found: Comparison, chains: Chains) -> None:
    """Check KL of every position, and the share of other draws within 4 standard errors."""
    assert found.distributions is not None
    after = chains.x[:, :-1]
    np.testing.assert_allclose(found.distributions.kl[:, 1:], chains.kl[after], rtol=1e-4)
    assert (found.distributions.kl[:, 0] < 1e-12).all()
    differ = chains.differ()[after]
    got = ~found.distributions.same_draw[:, 1:]
    error = np.sqrt((differ * (1 - differ)).sum())
    assert abs(got.sum() - differ.sum()) <= 4 * error
    assert differ.sum() > 12 * error
    top = (chains.p.argmax(axis=1) == chains.q.argmax(axis=1))[after]
    assert (found.distributions.same_top[:, 1:] == top).all()


def test_known_distributions(measured: Comparison, chains: Chains) -> None:
    known_distributions(measured, chains)
    # KL does not depend on the values that were drawn, so its mean is nearer to the loss.
    cost = measured.cost("chains")
    assert cost.kl_mean == pytest.approx(chains.loss, rel=0.02)


def test_known_distributions_planted(measured: Comparison, chains: Chains) -> None:
    """KL in the other direction, and draws from other uniforms, are found."""
    back = compare(chains.source, chains.bundle, chains.x, seed=1).distributions
    assert back is not None
    assert measured.distributions is not None
    other = np.roll(measured.distributions.same_draw, 1, axis=0)
    kl = replace(measured.distributions, kl=back.kl)
    draws = replace(measured.distributions, same_draw=other & measured.distributions.same_draw)
    for fault in (kl, draws):
        with pytest.raises(AssertionError):
            known_distributions(replace(measured, distributions=fault), chains)
