"""Bytes of forms, and which are measured."""

import pytest
import torch

from ancestral.bundles.quantisation import QuantisedTensor
from ancestral.precision.forms import stored_bytes, tried
from ancestral.train.quantisation.rounding import nearest


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("width", [64, 96, 100, 129])
def test_bytes_are_those_of_the_codes(width: int, bits: int, symmetric: bool, half: bool) -> None:
    matrix = torch.randn(5, width)
    how = QuantisedTensor(bits=bits, group=32, symmetric=symmetric)
    codes, scale, zero = nearest(matrix, how, half)
    scales = scale.numel() * (2 if half else 4)
    expected = codes.numel() + scales + (0 if zero is None else zero.numel())
    assert stored_bytes(matrix, how, half) == expected
    assert stored_bytes(matrix, None, half) == 5 * width * 4


@pytest.mark.parametrize(
    ("width", "int4", "int8"), [(768, [128, 64, 32], 128), (96, [32], 32), (64, [64, 32], 32)]
)
def test_short_rows_have_short_groups(width: int, int4: list[int], int8: int) -> None:
    """A long group that fills up a short row is not tried; of 8 bits only the smallest is."""
    forms = [
        QuantisedTensor(bits=bits, group=group, symmetric=True)
        for bits, groups in ((4, (128, 64, 32)), (8, (128, 32)))
        for group in groups
    ]
    found = tried(torch.empty(4, width), [*forms, *forms], half=False)
    assert [(how.bits, how.group) for how in found] == [*((4, each) for each in int4), (8, int8)]
