"""Thresholds of the filters: each form keeps the sets of float64, whatever the other rows are."""

from collections.abc import Callable
from typing import Any

import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from ancestral.triton_kernels.filter_threshold import filter_threshold, filter_threshold_reference
from ancestral.triton_kernels.filter_threshold import onnx as stages
from ancestral.triton_kernels.filter_threshold.branch import Branch
from ancestral.triton_kernels.filter_threshold.histogram import UNDECIDED
from ancestral.triton_kernels.onnx_nodes import ints, number
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
    (0, 0.95, 0.0),
    (0, 0.9, 0.0),
    (0, 0.95, 0.0),
    (0, 0.9, 0.001),
]
"""Top-k (0 is off), top-p and min-p of each row."""
WIDTHS = (3.0, 3.0, 3.0, 3.0, 0.5, 3.0, 0.01, 3.0, 0.3, 1e-5, 0.5, 4.5)
"""Scales of the logits: the highest values are not enough for the flat rows."""
SQUEEZED, BANNED = 9, 10
"""A row whose logits but the first are in one bucket, and a row with logits of -inf."""
COMPLETE = {4, 6, SQUEEZED}
"""Rows that need all values: a top-k of more than the highest, and buckets of too many."""
HISTOGRAM = {300: {1, 3, 8, 10, 11}, 2000: {8, 10}}
"""Rows that the histogram decides."""


def inputs(v: int) -> tuple[Tensor, ...]:
    """Multiples of 1/64, so that many are tied, and settings."""
    generator = torch.Generator().manual_seed(v)
    z = torch.tensor(WIDTHS)[:, None, None] * torch.randn(len(WIDTHS), 1, v, generator=generator)
    z = (64 * z).round() / 64
    z[SQUEEZED] = torch.arange(v) / 2**17 - 5
    z[SQUEEZED, 0, v // 2] = 0
    z[BANNED, 0, : v // 3] = -torch.inf
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


@pytest.mark.parametrize("v", [17, 300, pytest.param(2000, marks=pytest.mark.slow)])
def test_rows_in_onnx_runtime(v: int) -> None:
    check_rows(Call(filter_threshold), v)


def wrong_rows(v: int) -> set[int]:
    given = inputs(v)
    threshold = run(in_onnx(Call(filter_threshold), v, "onnxruntime"), given)[0]
    same = sets(given[0], torch.from_numpy(threshold)) == expected(given)
    return set(range(len(SETTINGS))) - set(same.all(dim=1).nonzero()[:, 0].tolist())


@pytest.mark.parametrize("v", [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_stages(v: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row ends in the stage that it is meant for, which a wrong stage shows."""
    whole = "_sorted" if v <= stages.SORTABLE else "bisected"

    def least(nodes: Any, z: Any, *_: object) -> Any:
        return nodes.ReduceMin(z, ints(-1), keepdims=1)

    with monkeypatch.context() as patch:
        patch.setattr(stages, whole, least)
        assert wrong_rows(v) == COMPLETE
    monkeypatch.setattr(stages, "top_p_threshold", least)
    assert wrong_rows(v) == HISTOGRAM[v] | COMPLETE


def test_undecided_in_the_histogram(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last stage decides all rows that the histogram leaves."""

    def undecided(nodes: Any, z: Any, whole: Any, *_: object) -> Any:
        return nodes.Where(nodes.Less(whole, whole), whole, number(UNDECIDED))

    monkeypatch.setattr(stages, "top_p_threshold", undecided)
    assert wrong_rows(2000) == set()


def test_not_a_number() -> None:
    """A row of NaN neither fails nor changes its neighbours."""
    given = inputs(2000)
    given[0][6], given[1][6] = torch.nan, torch.nan
    session = in_onnx(Call(filter_threshold), 2000, "onnxruntime")
    same = sets(given[0], torch.from_numpy(run(session, given)[0])) == expected(given)
    assert same.all(dim=1)[[row for row in range(len(SETTINGS)) if row != 6]].all()


class BucketOff(Branch):
    """Leaves out the bucket that contains the threshold."""

    def Relu(self, distance: Any) -> Any:  # noqa: N802 - an operator
        return self.__getattr__("Relu")(self.Add(distance, number(1.0)))


class LaxEnd(Branch):
    """Believes that the highest values are enough, whatever the threshold."""

    def LessOrEqual(self, first: Any, second: Any) -> Any:  # noqa: N802
        return self.And(self.__getattr__("LessOrEqual")(first, second), self.Less(first, first))


class LaxMass(Branch):
    """Believes that the values of a bucket are enough, whatever their mass."""

    def Not(self, condition: Any) -> Any:  # noqa: N802
        return self.Or(condition, self.__getattr__("Not")(condition))


@pytest.mark.parametrize(("fault", "row"), [(BucketOff, 1), (LaxEnd, 9), (LaxMass, 9)])
def test_planted_in_a_branch(
    fault: type[Branch], row: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "Branch", fault)
    with pytest.raises(AssertionError, match=f"row {row}:"):
        check_rows(Call(filter_threshold), 300 if fault is BucketOff else 2000)


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
