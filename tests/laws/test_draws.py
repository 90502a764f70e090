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
from ancestral.train.likelihoods import categorical
from ancestral.train.likelihoods.filters import Filters, filtered
from tests.conftest import Load
from tests.likelihoods import oracle

GRID = 2**16


def check_grid(values: NDArray[np.int64], p: NDArray[np.float64]) -> None:
    """Uniforms in the middle of equal cells draw value i as often as p says, to the cell.

    Below the upper edge C_i of a value's interval lie round(cells C_i) midpoints: half a cell away
    at most, and float32's error in C_i beside, 2e-6 in the flat form and in blocks alike.
    """
    limit = 0.5 + len(values) * 2e-6
    assert (np.diff(values) >= 0).all(), "a larger u draws no smaller value"
    assert not np.isin(values, np.flatnonzero(p == 0)).any(), "a value of probability 0 is drawn"
    counts = np.bincount(values, minlength=len(p)).cumsum()
    error = np.abs(counts - len(values) * p.cumsum())
    assert error.max() <= limit, (
        f"max {error.max():.2f} cells is over {limit:.2f}, mean {error.mean():.2f}, "
        f"worst at value {error.argmax()}"
    )


def logits_of(v: int) -> NDArray[np.float32]:
    """Far from uniform, and some values that cannot be."""
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
    parts = [categorical.draw(logits.expand(len(u), v), u) for u in grid()]
    return torch.cat(parts).numpy()


@pytest.mark.parametrize("v", [3, 17, 256, 300])
def test_grid(v: int) -> None:
    check_grid(drawn(v), softmax(logits_of(v)))


@pytest.mark.parametrize("v", [17, 300])
def test_grid_planted(v: int) -> None:
    with pytest.raises(AssertionError, match="cells is over"):
        check_grid(drawn(v, fault=1.001), softmax(logits_of(v)))


class Draw(torch.nn.Module):
    """Logits [b, 1, v], u [b, 1] -> a value, filtered as `step_filtered` does."""

    def forward(self, logits: Tensor, u: Tensor, *settings: Tensor) -> Tensor:
        shifted, _ = categorical.unnormalised(logits)
        return categorical.inverse_cdf(filtered(shifted, Filters(*settings)).exp(), u)[0]


@pytest.mark.parametrize(("v", "cells"), [(17, GRID), (300, 2**12)])
def test_grid_in_onnx(v: int, cells: int) -> None:
    """The exported draw, with and without filters, value by value as in PyTorch."""
    b = torch.export.Dim("b", min=1)
    logits = torch.from_numpy(logits_of(v))[None, None]
    settings = {
        Sampling(): (1.0, v, 1.0, 0.0),
        Sampling(0.8, 9, 0.9, 0.01): (0.8, 9, 0.9, 0.01),
    }
    example = (torch.zeros(2, 1, v), torch.full((2, 1), 0.5), torch.ones(2))
    rest = (torch.ones(2, dtype=torch.int64), torch.ones(2), torch.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecations
        program = torch.onnx.export(
            Draw(),
            (*example, *rest),
            dynamo=True,
            opset_version=24,
            custom_translation_table=translations("onnxruntime"),
            dynamic_shapes=({0: b}, {0: b}, ({0: b}, {0: b}, {0: b}, {0: b})),
            input_names=["logits", "u", *Filters._fields],
            verbose=False,
        )
    session = ort.InferenceSession(program.model_proto.SerializeToString())
    for sampling, (temperature, k, p, m) in settings.items():
        values = []
        for u in grid(cells):
            n = len(u)
            inputs = {
                "logits": logits.expand(n, 1, v).contiguous().numpy(),
                "u": u[:, None].numpy(),
                "temperature": np.full(n, temperature, np.float32),
                "top_k": np.full(n, k),
                "top_p": np.full(n, p, np.float32),
                "min_p": np.full(n, m, np.float32),
            }
            values.append(session.run(None, inputs)[0][:, 0])
        expected = oracle.filtered(logits_of(v), sampling)
        check_grid(np.concatenate(values), expected)


SAMPLES = 20_000


def p_value(engine: Engine, p: NDArray[np.float64], x: NDArray[np.int64]) -> float:
    """Chi-square of sampled events against p of every event, cells pooled to 5 expected."""
    index = x @ engine.data.levels ** np.arange(x.shape[1])[::-1]
    counts = np.bincount(index, minlength=len(p))
    order = np.argsort(-p)
    expected, observed = SAMPLES * p[order], counts[order]
    # From the most probable on, a cell closes as soon as it expects 5.
    cells, mass = np.zeros(len(p), np.int64), 0.0
    for i, each in enumerate(expected):
        cells[i] = cells[i - 1] + (mass >= 5) if i else 0
        mass = each if mass >= 5 else mass + each
    wanted, got = np.bincount(cells, expected), np.bincount(cells, observed)
    if wanted[-1] < 5:
        wanted = np.append(wanted[:-2], wanted[-2:].sum())
        got = np.append(got[:-2], got[-2:].sum())
    statistic = ((got - wanted) ** 2 / wanted).sum()
    return float(chi2.sf(statistic, len(wanted) - 1))


def test_chi_square(load: Load, backend: str) -> None:
    """20,000 samples follow p(x | y); and they do not follow a p that is 5% off."""
    engine = load("llama", backend)
    every = np.array(list(product(range(engine.data.levels), repeat=engine.data.length)))
    p = np.exp(engine.log_prob(every))
    x = engine.sample(SAMPLES, seed=1).x.reshape(SAMPLES, -1)
    assert p_value(engine, p, x) > 1e-4
    likely = p > np.quantile(p, 0.99)
    wrong = np.where(likely & (np.cumsum(likely) % 2 == 0), 1.05 * p, p)
    wrong = np.where(likely & (np.cumsum(likely) % 2 == 1), 0.95 * p, wrong)
    assert p_value(engine, wrong / wrong.sum(), x) < 1e-4, "an error of 5% would not be seen"
