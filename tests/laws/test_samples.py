"""Laws of samples: evaluated again they have the same log p, and redrawn they are the same."""

from collections.abc import Callable

import numpy as np
import pytest

from ancestral.engine import Engine, Samples, Sampling
from ancestral.engine.noise import Noise
from tests.conftest import Load

from .faults import plant
from .laws import assert_close, assert_same_draws, limits, margins

N = 24
SEED = 5


def labels(engine: Engine) -> np.ndarray | None:
    return None if engine.data.num_classes is None else np.arange(N) % engine.data.num_classes


def observed(engine: Engine) -> np.ndarray:
    """Return values with positions 0, 1 and the last but one observed; all others are free."""
    forced = np.full((N, engine.data.length), -1)
    forced[:, [0, 1, -2]] = np.random.default_rng(2).integers(0, engine.data.levels, (N, 3))
    return forced


def draw(engine: Engine, observed: np.ndarray | None = None, **arguments: object) -> Samples:
    """Draw samples; `observed` is by position."""
    forced = None if observed is None else engine.data.in_place(observed)
    return engine.sample(N, labels=labels(engine), seed=SEED, observed=forced, **arguments)


def check_evaluated_again(engine: Engine) -> None:
    s = draw(engine, observed=observed(engine))
    assert_close(
        s.log_prob, engine.log_prob(s.x, s.labels), limits(engine).nats, "log p of samples"
    )


def check_fixed_point(engine: Engine, toy: str) -> None:
    forced = observed(engine)
    s = draw(engine, observed=forced)
    x, u = engine.data.in_order(s.x), Noise(SEED, 0).uniforms(N, forced.shape[1])
    redrawn = engine.data.in_order(engine.redraw(s.x, u, s.labels))
    redrawn = np.where(forced >= 0, forced, redrawn)
    assert_same_draws(redrawn, x, margins(toy, x, s.labels, u), limits(engine).cdf)


def test_evaluated_again(engine: Engine) -> None:
    check_evaluated_again(engine)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_evaluated_again_planted(bundles: Callable, tmp_path, backend: str) -> None:
    toy = "tiny"
    with pytest.raises(AssertionError, match="log p of samples: max"):
        check_evaluated_again(plant(bundles(toy), tmp_path, "scale wrong", toy, backend))


def test_fixed_point(engine: Engine, toy: str) -> None:
    check_fixed_point(engine, toy)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_fixed_point_planted(bundles: Callable, tmp_path, backend: str) -> None:
    toy = "tiny"
    with pytest.raises(AssertionError, match="though u is"):
        check_fixed_point(plant(bundles(toy), tmp_path, "window", toy, backend), toy)


def test_observed_values_stay(engine: Engine) -> None:
    forced = observed(engine)
    x = engine.data.in_order(draw(engine, observed=forced).x)
    assert (x[forced >= 0] == forced[forced >= 0]).all()
    assert len(np.unique(x[:, 3])) > 1, "a free position is constant"


def test_observed_leaves_earlier_draws(engine: Engine) -> None:
    """A later observed value changes no draw before it."""
    late = observed(engine)
    late[:, 1:-2] = -1
    without = late.copy()
    without[:, -2] = -1
    with_x, without_x = (engine.data.in_order(draw(engine, observed=o).x) for o in (late, without))
    assert np.array_equal(with_x[:, :-2], without_x[:, :-2])
    assert (with_x[:, -2] != without_x[:, -2]).any()


def test_log_q(engine: Engine) -> None:
    """log q sums drawn positions only, log p also forced ones."""
    forced = observed(engine)
    s = draw(engine, observed=forced)
    each = engine.position_log_prob(s.x, s.labels)
    drawn = np.where(forced >= 0, 0, each).sum(axis=1)
    assert_close(s.log_q, drawn, limits(engine).nats, "log q")
    assert (s.log_q > s.log_prob).any()


@pytest.mark.many
@pytest.mark.parametrize("toy", ["tiny"])
@pytest.mark.parametrize(
    "sampling",
    [Sampling(temperature=0.5), Sampling(top_k=2), Sampling(top_p=0.7), Sampling(min_p=0.3)],
    ids=["temperature", "top_k", "top_p", "min_p"],
)
def test_filtered(engine: Engine, sampling: Sampling) -> None:
    """With filters, log p is the model's, and log q that of the renormalised distribution."""
    forced = observed(engine)
    s = draw(engine, observed=forced, sampling=sampling)
    x = s.x.reshape(N, -1)
    assert_close(s.log_prob, engine.log_prob(s.x, s.labels), limits(engine).nats, "log p")
    logits = engine.parallel("logits", s.labels, x=x)["logits"].astype(np.float64)
    z = (logits - logits.max(-1, keepdims=True)) / sampling.temperature
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    above = p[..., None, :] > p[..., :, None]  # for value i: which values j are more probable
    kept = (above.sum(-1) < (sampling.top_k or 3)) & (
        np.where(above, p[..., None, :], 0).sum(-1) < sampling.top_p
    )
    kept &= p >= sampling.min_p * p.max(-1, keepdims=True)
    q = np.where(kept, p, 0)
    q /= q.sum(-1, keepdims=True)
    chosen = np.take_along_axis(q, x[..., None], -1)[..., 0]
    log_q = np.log(np.where(forced >= 0, 1, chosen)).sum(axis=1)
    limit = limits(engine).nats / min(1, sampling.temperature)
    assert_close(s.log_q, log_q, limit, "log q")
    assert np.abs(s.log_q - np.where(forced >= 0, 0, engine.position_log_prob(s.x, s.labels)).sum(1)
                  ).max() > 0.1, "the filter did nothing"  # fmt: skip


@pytest.mark.parametrize("toy", ["tiny"])
def test_temperature_0(engine: Engine) -> None:
    s = draw(engine, sampling=Sampling(temperature=0.0))
    logits = engine.parallel("logits", s.labels, x=s.x.reshape(N, -1))["logits"]
    assert np.array_equal(s.x.reshape(N, -1), logits.argmax(-1))
    assert not s.log_q.any()


def test_backends_agree(load: Load, toy: str) -> None:
    """The same seed draws the same samples, except for near ties; another seed draws others."""
    torch, onnxruntime = (load(toy, backend) for backend in ("torch", "onnxruntime"))
    forced = observed(torch)
    forced[:, 1:] = -1
    one, other = (draw(engine, observed=forced) for engine in (torch, onnxruntime))
    x = torch.data.in_order(one.x)
    u = Noise(SEED, 0).uniforms(*x.shape)
    margin = margins(toy, x, one.labels, u)
    assert_same_draws(torch.data.in_order(other.x), x, margin, limits(onnxruntime).cdf)
    placed = torch.data.in_place(forced)
    elsewhere = onnxruntime.sample(N, one.labels, seed=SEED + 1, observed=placed).x
    elsewhere = torch.data.in_order(elsewhere)
    with pytest.raises(AssertionError, match="though u is"):
        assert_same_draws(elsewhere, x, margin, limits(onnxruntime).cdf)
