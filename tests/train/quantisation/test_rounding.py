"""Rounding to codes: errors, odd groups, outliers, and weights that are refused."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from ancestral.bundles.quantisation import Quantisation, QuantisedTensor
from ancestral.errors import InvalidInput
from ancestral.train.quantisation.quantise import quantise
from ancestral.train.quantisation.rounding import Codes, coded, grouped, nearest, scales
from ancestral.triton_kernels.dequantise import dequantise, packed, unpacked

ROUNDING = 4 * 2.0**-24
"""Relative error of a few operations in float32."""


def way(bits: int = 8, group: int = 16, symmetric: bool = True) -> QuantisedTensor:
    assert bits in {4, 8}
    return QuantisedTensor(bits=4 if bits == 4 else 8, group=group, symmetric=symmetric)


def back(codes: Codes, width: int, how: QuantisedTensor) -> Tensor:
    return dequantise(*codes, width, how.bits)


def check_errors(matrix: Tensor, how: QuantisedTensor, half: bool = False) -> None:
    """Check that each number is at most half a scale away from the number that is stored."""
    codes = nearest(matrix, how, half)
    n, k = matrix.shape
    assert codes.codes.shape == (n, -(-k // how.group), how.group * how.bits // 8)
    assert codes.scale.shape == codes.codes.shape[:2]
    assert (codes.zero is None) == how.symmetric
    apart = (back(codes, k, how).double() - matrix.double()).abs()
    scale = codes.scale.double().repeat_interleave(how.group, dim=1)[:, :k]
    largest = grouped(matrix.double(), how.group).abs().amax(-1)
    allowed = 0.5 * scale + ROUNDING * largest.repeat_interleave(how.group, dim=1)[:, :k]
    assert (apart <= allowed).all(), f"{float((apart / scale).max())} scales away"


NUMBERS = st.floats(-4e5, 4e5, width=32).map(lambda x: 0.0 if abs(x) < 1e-20 else x)
"""Numbers far above float32's smallest: a scale below 2^-126 has too few bits of its own."""


@given(
    st.data(),
    st.sampled_from([4, 8]),
    st.booleans(),
    st.sampled_from([2, 16, 32]),
    st.booleans(),
    st.integers(1, 3),
    st.integers(1, 40),
)
@settings(deadline=None, max_examples=60)
def test_half_a_scale(
    data: st.DataObject, bits: int, symmetric: bool, group: int, half: bool, n: int, k: int
) -> None:
    """No number moves by more than half a scale, in groups that may not divide the columns."""
    values = data.draw(st.lists(NUMBERS, min_size=n * k, max_size=n * k))
    check_errors(torch.tensor(values).reshape(n, k), way(bits, group, symmetric), half)


MATRICES = {
    "zeros": torch.zeros(3, 20),
    "equal": torch.full((2, 33), -0.7),
    "equal and positive": torch.full((2, 33), 0.7),
    "positive": torch.linspace(1, 2, 40).reshape(2, 20),
    "outlier": torch.cat([torch.full((1, 1), 1e4), torch.linspace(-1, 1, 31)[None]], dim=1),
    "one number": torch.tensor([[-3.0]]),
    "small": torch.linspace(-1e-9, 1e-9, 48).reshape(2, 24),
}


@pytest.mark.parametrize("half", [False, True], ids=["float32", "float16"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "asymmetric"])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("case", MATRICES)
def test_matrices(case: str, bits: int, symmetric: bool, half: bool) -> None:
    check_errors(MATRICES[case], way(bits, 16, symmetric), half)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_exact(bits: int, symmetric: bool) -> None:
    """Zeros stay zeros, and so do the largest numbers of symmetric groups."""
    matrix = torch.randn(4, 50, generator=torch.manual_seed(0))
    matrix[:, ::3] = 0
    found = back(nearest(matrix, way(bits, 16, symmetric)), 50, way(bits, 16, symmetric))
    assert (found[:, ::3] == 0).all()
    if symmetric:
        most = grouped(matrix, 16).abs().amax(-1)
        got = grouped(found, 16).abs().amax(-1)
        assert (got - most).abs().max() <= ROUNDING * most.max()


def test_groups_are_apart() -> None:
    """An outlier costs the numbers of its own group only."""
    matrix = torch.randn(1, 64, generator=torch.manual_seed(1))
    spoilt = matrix.clone()
    spoilt[0, 20] = 1e4
    before, after = (back(nearest(each, way()), 64, way()) for each in (matrix, spoilt))
    same = torch.ones(64, dtype=torch.bool)
    same[16:32] = False
    assert torch.equal(before[:, same], after[:, same])
    assert not torch.equal(before[0, 16:20], after[0, 16:20])


def test_half_scales_are_rounded_upwards() -> None:
    """A scale of float16 is never below the exact one, so the largest number has a code."""
    matrix = torch.randn(200, 32, generator=torch.manual_seed(2)) * 3
    for symmetric in (True, False):
        how = way(4, 32, symmetric)
        exact, _ = scales(grouped(matrix, 32), how, half=False)
        stored, _ = scales(grouped(matrix, 32), how, half=True)
        assert torch.equal(stored.half().float(), stored)
        assert (stored >= exact).all()
        assert (stored <= exact * (1 + 2.0**-10)).all()


def test_one_code_too_far_is_found() -> None:
    """Planted fault: zero points that are off by one move every number by a scale."""
    matrix, how = torch.randn(3, 32, generator=torch.manual_seed(3)), way(8, 16, symmetric=False)
    groups = grouped(matrix, 16)
    scale, zero = scales(groups, how, half=False)
    codes = coded(groups, scale, zero, how)._replace(scale=scale)
    moved = codes._replace(zero=(zero + 1).to(torch.uint8))
    apart = (back(moved, 32, how) - matrix).abs() / scale.repeat_interleave(16, dim=1)
    assert float(apart.min()) > 0.49


@given(st.data(), st.integers(1, 3), st.integers(1, 9))
@settings(deadline=None, max_examples=30)
def test_packing(data: st.DataObject, n: int, pairs: int) -> None:
    """Codes come back, and the first of each pair is in the low half of its byte."""
    values = data.draw(st.lists(st.integers(0, 15), min_size=2 * n * pairs, max_size=2 * n * pairs))
    codes = torch.tensor(values, dtype=torch.uint8).reshape(n, 2 * pairs)
    stored = packed(codes, 4)
    assert stored.shape == (n, pairs)
    assert np.array_equal(stored.numpy(), codes.numpy()[:, ::2] + 16 * codes.numpy()[:, 1::2])
    assert torch.equal(unpacked(stored, 4), codes)
    assert torch.equal(unpacked(packed(codes, 8), 8), codes)


def test_packed_zero_points() -> None:
    """An odd number of groups leaves the last half byte of each row empty."""
    matrix = torch.rand(2, 48, generator=torch.manual_seed(4)) - 0.3
    codes = nearest(matrix, way(4, 16, symmetric=False))
    assert codes.zero is not None
    assert codes.zero.shape == (2, 2)
    assert (codes.zero[:, 1] >> 4 == 0).all()
    _, zero = scales(grouped(matrix, 16), way(4, 16, symmetric=False), half=False)
    assert torch.equal(unpacked(codes.zero, 4)[:, :3].float(), zero)


def plan(scale: str = "float32", bits: int = 8) -> Quantisation:
    tensors = {"0.weight": way(bits)}
    return Quantisation.model_validate(
        {"compute": "float32", "scales": scale, "tensors": tensors, "kept": {}}
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_refused(value: float) -> None:
    """A number that is not finite is refused with the name of its weight."""
    model = nn.Sequential(nn.Linear(20, 4))
    model[0].weight.data[2, 3] = value
    with pytest.raises(InvalidInput, match=r"0.weight: expected finite .* got 1 that are not of"):
        quantise(model, plan())
    assert type(model[0]) is nn.Linear


@pytest.mark.parametrize(
    ("scale", "largest"),
    [("float16", 65510.0 * 127), ("float16", 1e9), ("float32", 3.4e38)],
)
def test_scales_that_are_too_large(scale: str, largest: float) -> None:
    """A scale that its type cannot hold is refused, with the name of the weight."""
    model = nn.Sequential(nn.Linear(20, 4))
    model[0].weight.data[2, 3] = largest
    how = way(8, symmetric=scale == "float16")
    if not how.symmetric:
        model[0].weight.data[2, 4] = -largest
    wanted = plan(scale).model_copy(update={"tensors": {"0.weight": how}})
    with pytest.raises(InvalidInput, match=rf"0.weight: expected .* {scale}"):
        quantise(model, wanted)
