"""Filters keep the values that a sort keeps, in PyTorch and exported to ONNX."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from ancestral.export.operators import translations
from ancestral.sampling import Sampling
from ancestral.triton_kernels.sample_token.filters import Filters, cooled, kept
from ancestral.triton_kernels.sample_token.inverse_cdf import unnormalised

from . import oracle

SETTINGS = {
    "off": Sampling(),
    "cold": Sampling(temperature=0.3),
    "hot": Sampling(temperature=5.0),
    "k1": Sampling(top_k=1),
    "k2": Sampling(top_k=2),
    "p0.1": Sampling(top_p=0.1),
    "p0.9": Sampling(top_p=0.9),
    "m0.05": Sampling(min_p=0.05),
    "m1": Sampling(min_p=1.0),
    "all": Sampling(temperature=0.7, top_k=9, top_p=0.8, min_p=0.02),
    "k p": Sampling(top_k=3, top_p=0.6),
}
LOGITS = {
    "wide": lambda v: np.random.default_rng(0).normal(0, 3, v),
    "near": lambda v: np.random.default_rng(1).normal(0, 0.1, v),
    "ties": lambda v: np.random.default_rng(2).integers(0, 3, v) * 1.5,
    "equal": np.zeros,
    "one": lambda v: np.where(np.arange(v) == v // 2, 500.0, -500.0),
    "steps": lambda v: -1e-3 * np.arange(v),
}
Filter = Callable[[Tensor, Filters], Tensor]


class Masked(torch.nn.Module):
    """Logits [b, 1, v] -> shifted logits of the filtered distribution, as `step_filtered` does."""

    def forward(self, logits: Tensor, *settings: Tensor) -> Tensor:
        filters = Filters(*settings)
        z = cooled(unnormalised(logits)[0], filters.temperature)[0]
        return torch.where(kept(z, z.exp(), filters), z, -torch.inf)


@pytest.fixture(scope="module")
def in_onnx(tmp_path_factory: pytest.TempPathFactory) -> Filter:
    """Export the filters once, for any batch and any number of values."""
    file: Path = tmp_path_factory.mktemp("filters") / "filters.onnx"
    b, v = torch.export.Dim("b", min=1), torch.export.Dim("v", min=2)
    settings = (torch.ones(2), torch.full((2,), 3), torch.ones(2), torch.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's deprecations
        torch.onnx.export(
            Masked(),
            (torch.zeros(2, 1, 3), *settings),
            str(file),
            dynamo=True,
            opset_version=24,
            custom_translation_table=translations("portable"),
            dynamic_shapes=({0: b, 2: v}, ({0: b}, {0: b}, {0: b}, {0: b})),
            input_names=["logits", *Filters._fields],
            verbose=False,
        )
    session = ort.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(logits: Tensor, filters: Filters) -> Tensor:
        arrays = {name: t.numpy() for name, t in filters._asdict().items()}
        return torch.from_numpy(session.run(None, {"logits": logits.numpy()} | arrays)[0])

    return run


@pytest.fixture(params=["torch", "onnx"])
def apply(request: pytest.FixtureRequest) -> Filter:
    if request.param == "torch":
        return lambda logits, filters: Masked()(logits, *filters)
    return request.getfixturevalue("in_onnx")


def rows(v: int) -> tuple[Tensor, Filters, list[tuple[str, NDArray[np.float64]]]]:
    """Return a row of every kind of logits with every setting, and the oracle's probabilities."""
    kinds = LOGITS if v < 1000 else ("wide", "ties")  # long rows are slow
    pairs = [(l, s) for l in kinds for s in SETTINGS]
    logits = np.stack([LOGITS[l](v) for l, _ in pairs]).astype(np.float32)
    settings = [SETTINGS[s] for _, s in pairs]
    filters = Filters(
        torch.tensor([s.temperature for s in settings], dtype=torch.float32),
        torch.tensor([min(s.top_k or v, v) for s in settings]),
        torch.tensor([s.top_p for s in settings], dtype=torch.float32),
        torch.tensor([s.min_p for s in settings], dtype=torch.float32),
    )
    expected = [
        (f"{l} under {s}", oracle.filtered(row, SETTINGS[s]))
        for row, (l, s) in zip(logits, pairs, strict=True)
    ]
    return torch.from_numpy(logits)[:, None], filters, expected


def check_filters(apply: Filter, v: int) -> None:
    """Check for the oracle's support, and its probabilities to float32's rounding of a sum."""
    logits, filters, expected = rows(v)
    z = apply(logits, filters)[:, 0]
    assert not z.isnan().any()
    w = z.exp()
    got = (w.double() / w.double().sum(-1, keepdim=True)).numpy()
    for p, (name, q) in zip(got, expected, strict=True):
        kept, support = p > 0, q > 1e-45  # below this a weight is 0 in float32
        assert np.array_equal(kept, support), (
            f"{name}: kept {kept.sum()}, expected {support.sum()}, "
            f"first difference at {np.flatnonzero(kept != support)[0]}"
        )
        error = np.abs(p - q)
        # Logits of 15 divided by a temperature of 0.3 are rounded by 3e-6, and so is log p.
        assert error.max() < 1e-5, f"{name}: max {error.max()}, worst at {error.argmax()}"


@pytest.mark.parametrize("v", [3, 17, 256, 300, 5000])
def test_filters(apply: Filter, v: int) -> None:
    check_filters(apply, v)


def test_ties_stay_together(apply: Filter) -> None:
    """Values of equal probability are all kept, even if k or P would cut between them."""
    logits = torch.tensor([[[1.0, 3.0, 3.0, 0.0, 3.0]]])
    for k, p in ((1, 1.0), (5, 0.2), (2, 0.5)):
        filters = Filters(torch.ones(1), torch.tensor([k]), torch.tensor([p]), torch.zeros(1))
        assert (apply(logits, filters)[0, 0] > -torch.inf).tolist() == [0, 1, 1, 0, 1]


@pytest.mark.parametrize(
    "fault",
    [
        lambda f: f._replace(temperature=f.temperature * 1.001),
        lambda f: f._replace(top_k=f.top_k + 1),
        lambda f: f._replace(top_p=(f.top_p * 1.1).clamp_max(1)),
        lambda f: f._replace(min_p=f.min_p * 1.5),
    ],
    ids=["temperature", "top_k", "top_p", "min_p"],
)
def test_planted(fault: Callable[[Filters], Filters]) -> None:
    with pytest.raises(AssertionError, match=r"kept|max"):
        check_filters(lambda logits, filters: Masked()(logits, *fault(filters)), 17)
