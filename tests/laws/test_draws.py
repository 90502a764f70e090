"""Laws of draws: exact on an even grid of uniforms, and samples that follow p(x)."""

import warnings
from itertools import product

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import chi2
from torch import Tensor

from ancestral.engine import Engine, Sampling
from ancestral.export.operators import translations
from ancestral.sampling import SETTINGS
from ancestral.train.likelihoods.categorical import Categorical
from ancestral.triton_kernels.sample_token.filters import Filters, cooled, kept
from ancestral.triton_kernels.sample_token.inverse_cdf import inverse_cdf, unnormalised
from tests.conftest import Load
from tests.likelihoods import oracle

GRID = 2**16


def check_grid(values: NDArray[np.int64], p: NDArray[np.float64]) -> None:
    """Check that uniforms in the middle of equal cells draw each value in proportion to p.

    round(cells C_i) midpoints are below the upper edge C_i of a value's interval, which is half a
    cell off at most. Float32's error in C_i adds 2e-6, both in the flat form and in blocks.
    """
    limit = 0.5 + len(values) * 2e-6
    assert (np.diff(values) >= 0).all(), "a larger u draws a smaller value"
    assert not np.isin(values, np.flatnonzero(p == 0)).any(), "a value of probability 0 is drawn"
    counts = np.bincount(values, minlength=len(p)).cumsum()
    error = np.abs(counts - len(values) * p.cumsum())
    assert error.max() <= limit, (
        f"max {error.max():.2f} cells is over {limit:.2f}, mean {error.mean():.2f}, "
        f"worst at value {error.argmax()}"
    )


def logits_of(v: int) -> NDArray[np.float32]:
    """Return logits that are far from uniform, with some impossible values."""
    logits = np.random.default_rng(v).normal(0, 2, v).astype(np.float32)
    logits[:: max(2, v // 3)] = -np.inf
    return logits


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    w = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(w / w.sum())


def grid(cells: int = GRID) -> list[Tensor]:
    u = (torch.arange(cells, dtype=torch.float64) + 0.5) / cells
    return list(u.float().split(2**13))


def drawn(v: int, fault: float = 1.0) -> NDArray[np.int64]:
    logits = fault * torch.from_numpy(logits_of(v))
    parts = [Categorical(v).draw(logits.expand(len(u), v), u) for u in grid()]
    return torch.cat(parts).numpy()


@pytest.mark.parametrize("v", [3, 17, 256, 300])
def test_grid(v: int) -> None:
    check_grid(drawn(v), softmax(logits_of(v)))


@pytest.mark.parametrize("v", [17, 300])
def test_grid_planted(v: int) -> None:
    with pytest.raises(AssertionError, match="cells is over"):
        check_grid(drawn(v, fault=1.001), softmax(logits_of(v)))


class FilteredDraw(torch.nn.Module):
    """Logits [b, 1, v], u [b, 1] -> a value, filtered as `step_filtered` does."""

    def forward(self, logits: Tensor, u: Tensor, *settings: Tensor) -> Tensor:
        filters = Filters(*settings)
        z, _ = cooled(unnormalised(logits)[0], filters.temperature)
        w = z.exp()
        return inverse_cdf(torch.where(kept(z, w, filters), w, 0), u)[0]


class PlainDraw(torch.nn.Module):
    """Logits [b, v], u [b] -> a value."""

    def forward(self, logits: Tensor, u: Tensor) -> Tensor:
        return Categorical(logits.shape[-1]).draw(logits, u)


def in_onnx(module: torch.nn.Module, example: tuple[Tensor, ...]) -> ort.InferenceSession:
    """Export a module with a dynamic batch, and load it in ONNX Runtime."""
    b = {0: torch.export.Dim("b", min=1)}
    shapes = (b, b) if len(example) == 2 else (b, b, (b,) * (len(example) - 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's deprecations
        program = torch.onnx.export(
            module,
            example,
            dynamo=True,
            opset_version=24,
            custom_translation_table=translations("onnxruntime"),
            dynamic_shapes=shapes,
            input_names=["logits", "u", *Filters._fields][: len(example)],
            verbose=False,
        )
    return ort.InferenceSession(program.model_proto.SerializeToString())


@pytest.mark.parametrize("v", [256, 300])
def test_grid_in_onnx(v: int) -> None:
    """The exported draw is exact on the grid, flat and in blocks."""
    session = in_onnx(PlainDraw(), (torch.zeros(2, v), torch.full((2,), 0.5)))
    logits = logits_of(v)
    values = [
        session.run(None, {"logits": np.tile(logits, (len(u), 1)), "u": u.numpy()})[0]
        for u in grid()
    ]
    check_grid(np.concatenate(values), softmax(logits))


def typed(sampling: Sampling, v: int) -> dict[str, np.generic]:
    """What a filtered step takes for one row."""
    every = sampling.settings(v)
    return {name: np.dtype(dtype).type(every[name]) for name, dtype in SETTINGS.items()}


def test_filtered_grid_in_onnx() -> None:
    """The exported draw with filters is exact on the grid, with filters off and on."""
    v = 17
    settings = (torch.ones(2), torch.full((2,), v), torch.ones(2), torch.zeros(2))
    session = in_onnx(FilteredDraw(), (torch.zeros(2, 1, v), torch.full((2, 1), 0.5), *settings))
    for sampling in (Sampling(), Sampling(0.8, 9, 0.9, 0.01)):
        values = []
        for u in grid():
            inputs = {
                "logits": np.tile(logits_of(v), (len(u), 1, 1)),
                "u": u[:, None].numpy(),
                **{name: np.full(len(u), value) for name, value in typed(sampling, v).items()},
            }
            values.append(session.run(None, inputs)[0][:, 0])
        check_grid(np.concatenate(values), oracle.filtered(logits_of(v), sampling))


SAMPLES = 20_000


def p_value(p: NDArray[np.float64], outcomes: NDArray[np.int64]) -> float:
    """Return the p-value of a chi-square test of outcomes, with cells pooled to 5 expected."""
    order = np.argsort(-p)
    expected = len(outcomes) * p[order]
    observed = np.bincount(outcomes, minlength=len(p))[order]
    # In order of probability, a cell is closed as soon as it has 5 expected outcomes.
    cells, mass = np.zeros(len(p), np.int64), 0.0
    for i, each in enumerate(expected):
        cells[i] = cells[i - 1] + (mass >= 5) if i else 0
        mass = each if mass >= 5 else mass + each
    pooled, got = np.bincount(cells, expected), np.bincount(cells, observed)
    if pooled[-1] < 5:
        pooled = np.append(pooled[:-2], pooled[-2:].sum())
        got = np.append(got[:-2], got[-2:].sum())
    statistic = ((got - pooled) ** 2 / pooled).sum()
    return float(chi2.sf(statistic, len(pooled) - 1))


def sampled(engine: Engine, label: int | None) -> tuple[NDArray[np.int64], ...]:
    """Return samples [n, t], every event [v^t, t], and the probability of each event."""
    every = np.array(list(product(range(engine.data.levels), repeat=engine.data.length)))
    (samples,) = engine.sample_batches(SAMPLES, labels=label, seed=1, batch=SAMPLES)
    return samples.x.reshape(SAMPLES, -1), every, np.exp(engine.log_prob(every, label))


@pytest.mark.many
def test_chi_square(load: Load, backend: str) -> None:
    """20,000 samples follow p(x); the test finds a temperature that is 5% off."""
    engine = load("llama", backend)
    x, _, p = sampled(engine, None)
    events = x @ engine.data.levels ** np.arange(x.shape[1])[::-1]
    assert p_value(p, events) > 1e-4
    assert p_value(p**1.05 / (p**1.05).sum(), events) < 1e-4, "an error of 5% is not found"


@pytest.mark.many
def test_chi_square_of_pairs(load: Load, backend: str) -> None:
    """Pairs of positions follow p(x_i, x_j | y); the test finds half of the mass 5% too likely."""
    engine = load("tiny", backend)
    v = engine.data.levels
    x, every, p = sampled(engine, 1)
    for i, j in ((0, 1), (3, 6), (4, 5), (7, 8)):
        pair = np.bincount(every[:, i] * v + every[:, j], p)
        got = x[:, i] * v + x[:, j]
        assert p_value(pair, got) > 1e-4
        sign, balance = np.zeros(len(pair)), 0.0
        for cell in np.argsort(-pair):
            sign[cell] = -1 if balance > 0 else 1
            balance += sign[cell] * pair[cell]
        wrong = pair * (1 + 0.05 * sign)
        assert p_value(wrong / wrong.sum(), got) < 1e-4, f"an error of 5% is not found at {i}, {j}"
