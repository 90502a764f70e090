"""Tensors of a loop before it begins: the values asked for, aligned as PyTorch's own memory is."""

import pytest
import torch

from ancestral.engine.backends.host_arrays import filled
from ancestral.engine.measure import memory_now


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
@pytest.mark.parametrize("shape", [(3, 5), (2, 0, 4), (1,)])
def test_zeros(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = filled(shape, 0.0, dtype, "cpu")
    assert torch.equal(tensor, torch.zeros(shape, dtype=dtype))
    assert tensor.dtype is dtype
    assert tensor.is_contiguous()
    assert tensor.data_ptr() % 64 == 0 or tensor.numel() == 0
    tensor.fill_(1)
    assert bool((tensor == 1).all())


def test_another_value() -> None:
    assert torch.equal(filled((2, 3), 1.5, torch.float32, "cpu"), torch.full((2, 3), 1.5))


def test_memory_is_taken_where_it_is_written() -> None:
    """Caches of 400 MB, of which a short loop writes little."""
    before = memory_now()
    tensor = filled((100, 2**20), 0.0, torch.float32, "cpu")
    tensor[0].fill_(1)
    assert memory_now() - before < 50e6
