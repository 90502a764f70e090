"""The delay line and each of its ONNX forms give the values of earlier positions."""

import numpy as np
import pytest
import torch

from ancestral.export.operators import Form
from ancestral.triton_kernels.ring import ring, ring_reference
from tests.triton_kernels.single import Call, exported, run

B, R, D = 3, 5, 4
OFFSETS = [-4, -1, 0]


def test_a_tap_is_the_value_of_that_position() -> None:
    """Rows at different positions read their own values, and 0 before the first, not old slots."""
    generator = torch.manual_seed(0)
    values = torch.randn(20, B, 1, D, generator=generator)
    buffer = torch.full((B, 1, R, D), 7.0)
    start = torch.tensor([0, 3, 6])
    for step in range(20):
        position = step - start
        before = buffer.clone()
        taps, buffer = ring(buffer, values[step], position.clamp_min(0), OFFSETS)
        for row in range(B):
            if position[row] < 0:
                buffer[row] = before[row]
                continue
            for tap, offset in zip(taps[row], OFFSETS, strict=True):
                wanted = int(position[row]) + offset
                expected = values[wanted + start[row], row, 0] if wanted >= 0 else torch.zeros(D)
                assert torch.equal(tap, expected), (step, row, offset)


def test_only_one_slot_is_written() -> None:
    buffer = torch.randn(B, 1, R, D, generator=torch.manual_seed(0))
    kept = buffer.clone()
    position = torch.tensor([0, 4, 7])
    _, written = ring(buffer, torch.ones(B, 1, D), position, OFFSETS)
    assert torch.equal(buffer, kept), "the operator is functional"
    changed = (written != kept).any(-1)[:, 0].nonzero()
    assert changed.tolist() == [[0, 0], [1, 4], [2, 2]]


@pytest.mark.parametrize("form", ["portable", "onnxruntime"])
@pytest.mark.parametrize("offsets", [[-4], OFFSETS, [0]], ids=str)
def test_forms(form: Form, offsets: list[int]) -> None:
    """Forms only move numbers: they equal the reference bit for bit, for any number of rows."""
    generator = torch.manual_seed(1)
    inputs = (
        torch.randn(B, 1, R, D, generator=generator),
        torch.randn(B, 1, D, generator=generator),
        torch.tensor([0, 4, 11]),
    )
    b = torch.export.Dim("b", min=1)
    session = exported(Call(ring, offsets), inputs, form, (({0: b}, {0: b}, {0: b}),))
    for rows in (B, 1):
        some = tuple(each[:rows] for each in inputs)
        got = run(session, some)
        for one, expected in zip(got, ring_reference(*some, offsets), strict=True):
            assert np.array_equal(one, expected.numpy())
