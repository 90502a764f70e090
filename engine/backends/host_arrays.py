"""Arrays on the host and the tensors that they stand for: numpy has no bfloat16."""

import math

import numpy as np
import torch
from torch import Tensor

from ancestral.engine.session import Array
from ancestral.signature import TensorSpec

_ALIGNED = 64
"""Bytes that a tensor's memory is aligned to, as PyTorch's own is: bits may depend on it."""


def to_device(array: Array, spec: TensorSpec, device: str) -> Tensor:
    """A copy of a host array as the tensor that it stands for."""
    tensor = torch.tensor(array, device=device)
    return tensor.bfloat16() if spec.dtype == "bfloat16" else tensor


def to_host(tensor: Tensor, spec: TensorSpec) -> Array:
    """A copy of a tensor as the host holds it."""
    typed = tensor.to(getattr(torch, spec.dtype))
    held: Array = typed.to(getattr(torch, str(spec.host))).cpu().numpy().copy()
    return held


def filled(shape: tuple[int, ...], value: float, dtype: torch.dtype, device: str) -> Tensor:
    """A tensor of one value; of zeros on the host, memory is taken only where it is written.

    A loop that is shorter than its caches never touches most of them. A value beyond a type of 16
    bits, -1e9 in float16 say, becomes infinite, as where a tensor is cast.
    """
    if value or device != "cpu":
        if dtype.is_floating_point:
            value = float(torch.tensor(value, dtype=torch.float64).to(dtype))
        return torch.full(shape, value, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    raw = torch.from_numpy(np.zeros(size + _ALIGNED, np.uint8))
    start = -raw.data_ptr() % _ALIGNED
    return raw[start : start + size].view(dtype).view(shape)
