"""Thresholds of the filters: each form keeps the sets of float64, whatever the other rows are."""

from collections.abc import Callable

import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from ancestral.triton_kernels.filter_threshold import filter_threshold, filter_threshold_reference
from ancestral.triton_kernels.filter_threshold.onnx import highest_of
from tests.triton_kernels.single import Call, exported, run

SETTINGS = [
    (5, 1.0, 0.0),
    (0, 0.95, 0.0),
    (0, 1.0, 0.05),
    (0, 0.6, 0.01),
    (265, 0.9, 0.0),
    (0, 1.0, 0.0),
    (0, 0.98, 0.0),
    (3, 0.5, 0.2),
]
"""Top-k (0 is off), top-p and min-p of each row."""
WIDTHS = (3.0, 3.0, 3.0, 3.0, 0.5, 3.0, 0.01, 3.0)
"""Scales of the logits: HIGHEST values are not enough for the flat rows."""


def inputs(v: int) -> tuple[Tensor, ...]:
    """Multiples of 1/64, so that many are tied, and settings."""
    generator = torch.Generator().manual_seed(v)
    z = torch.tensor(WIDTHS)[:, None, None] * torch.randn(len(WIDTHS), 1, v, generator=generator)
    z = (64 * z).round() / 64
    z = z - z.amax(-1, keepdim=True)
    k, p, m = zip(*SETTINGS, strict=True)
    top_k = torch.tensor([min(each or v, v) for each in k])
    return z, z.exp(), top_k, torch.tensor(p), torch.tensor(m)


def sets(z: Tensor, threshold: Tensor) -> Tensor:
    return (z >= threshold)[:, 0]


def expected(given: tuple[Tensor, ...]) -> Tensor:
    """The sets by their definition, in float64: no sort, no sum over sorted values."""
    z = given[0][:, 0].double()
    w = z.exp()
    kept = torch.zeros_like(z, dtype=torch.bool)
    for row, (k, p, m) in enumerate(zip(*(each.tolist() for each in given[2:]), strict=True)):
        above = z[row][None] > z[row][:, None]
        first = above.sum(1) < k
        total = w[row][first].sum()
        mass = (above * w[row]).sum(1)
        kept[row] = first & ((mass < p * total) | (p == 1))
        kept[row] &= w[row] >= m * (1 - 1e-12)
    return kept


def in_onnx(module: torch.nn.Module, v: int, form: str) -> ort.InferenceSession:
    b = torch.export.Dim("b", min=1)
    return exported(module, inputs(v), form, (({0: b},) * 5,))


@pytest.mark.parametrize("v", [3, 17, 256, 300, 2000])
def test_reference(v: int) -> None:
    given = inputs(v)
    assert torch.equal(sets(given[0], filter_threshold_reference(*given)), expected(given))


def check_rows(module: torch.nn.Module, v: int) -> None:
    """Rows with and without a certificate keep in one batch what each of them keeps by itself."""
    session, given = in_onnx(module, v, "onnxruntime"), inputs(v)
    together = sets(given[0], torch.from_numpy(run(session, given)[0]))
    wanted = expected(given)
    for row in range(len(SETTINGS)):
        one = tuple(each[row : row + 1] for each in given)
        alone = sets(one[0], torch.from_numpy(run(session, one)[0]))[0]
        assert torch.equal(together[row], alone), f"row {row} depends on its neighbours"
        assert torch.equal(alone, wanted[row]), f"row {row}: {alone.sum()}, not {wanted[row].sum()}"


@pytest.mark.parametrize("v", [17, 256, 300, 2000])
def test_rows_in_onnx_runtime(v: int) -> None:
    check_rows(Call(filter_threshold), v)


class OneForAll(torch.nn.Module):
    """The highest threshold of the batch in every row."""

    def forward(self, *tensors: Tensor) -> Tensor:
        found = filter_threshold(*tensors)
        return found.amax(dim=0, keepdim=True).expand_as(found)


class Narrower(torch.nn.Module):
    """Top-p that is 1% too small."""

    def forward(self, *tensors: Tensor) -> Tensor:
        z, w, k, p, m = tensors
        return filter_threshold(z, w, k, torch.where(p < 1, 0.99 * p, p), m)


class Strict(torch.nn.Module):
    """Ties of the last value are dropped."""

    def forward(self, *tensors: Tensor) -> Tensor:
        return filter_threshold(*tensors) + 1e-4


@pytest.mark.parametrize("fault", [OneForAll, Narrower, Strict])
def test_planted(fault: Callable[[], torch.nn.Module]) -> None:
    with pytest.raises(AssertionError, match="row"):
        check_rows(fault(), 2000)


def test_portable_form() -> None:
    given = inputs(300)
    session = in_onnx(Call(filter_threshold), 300, "portable")
    found = sets(given[0], torch.from_numpy(run(session, given)[0]))
    assert torch.equal(found, expected(given))
