"""Kernels that only move numbers equal their references bit for bit, in place."""

import pytest
import torch

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.append import append_reference
from ancestral.triton_kernels.launch import FLOATS
from ancestral.triton_kernels.ring import ring_reference

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize("dtype", [*FLOATS, torch.int64], ids=str)
@pytest.mark.parametrize("s", [1, 3, 8])
def test_append(device: torch.device, dtype: torch.dtype, s: int) -> None:
    from ancestral.triton_kernels.append.kernel import launch

    generator = torch.Generator().manual_seed(s)
    buffer = torch.randint(-9, 9, (4, 8), generator=generator).to(device, dtype)
    block = torch.randint(-9, 9, (4, s), generator=generator).to(device, dtype)
    position = torch.tensor([0, (8 - s) // 2, 8 - s, 0], device=device)
    expected = append_reference(buffer, position, block)
    assert launch(buffer, position, block) is buffer
    assert torch.equal(buffer, expected)
    outside = torch.tensor([9 - s, -1, 2**32, 8], device=device)
    launch(buffer, outside, block)
    assert torch.equal(buffer, expected), "a block that does not fit is not written"
    assert launch(buffer[:0], position[:0], block[:0]).shape == (0, 8)


def test_append_refused(device: torch.device) -> None:
    from ancestral.triton_kernels.append.kernel import launch

    buffer, position = torch.zeros(2, 5, device=device), torch.zeros(2, device=device).long()
    with pytest.raises(InvalidInput, match="block: expected"):
        launch(buffer, position, torch.zeros(2, 1, device=device).long())
    with pytest.raises(InvalidInput, match="buffer: expected contiguous"):
        launch(torch.zeros(5, 2, device=device).T, position, torch.zeros(2, 1, device=device))
    with pytest.raises(InvalidInput, match="position: expected"):
        launch(buffer, position[:1], torch.zeros(2, 1, device=device))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("offsets", [(-4,), (0,), (-4, -3, -1, 0)], ids=str)
@pytest.mark.parametrize("d", [1, 24, 130])
def test_ring(device: torch.device, dtype: torch.dtype, offsets: tuple[int, ...], d: int) -> None:
    """The kernel is exact, also before the ring is full, with NaN in slots not yet written."""
    from ancestral.triton_kernels.ring.kernel import launch

    generator = torch.Generator().manual_seed(d)
    position = torch.tensor([0, 2, 4, 5, 13], device=device)
    buffer = torch.randn(5, 1, 5, d, generator=generator).to(device, dtype)
    buffer[0], buffer[1, :, 2:] = torch.nan, torch.nan
    value = torch.randn(5, 1, d, generator=generator).to(device, dtype)
    taps, written = ring_reference(buffer, value, position, list(offsets))
    got, same = launch(buffer, value, position, offsets)
    assert same is buffer
    assert torch.equal(got, taps)
    assert torch.equal(buffer.nan_to_num(7.0), written.nan_to_num(7.0))
    if offsets == (-4,):
        assert not torch.equal(launch(buffer, value, position, (-3,))[0], taps), "another offset"


@pytest.mark.parametrize("offsets", [(1,), (-5,)], ids=str)
def test_ring_refused(device: torch.device, offsets: tuple[int, ...]) -> None:
    from ancestral.triton_kernels.ring.kernel import launch

    buffer, value = torch.zeros(1, 1, 5, 4, device=device), torch.zeros(1, 1, 4, device=device)
    with pytest.raises(InvalidInput, match="offsets: expected -4"):
        launch(buffer, value, torch.zeros(1, device=device).long(), offsets)
