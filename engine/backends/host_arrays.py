"""Arrays on the host and the tensors that they stand for: numpy has no bfloat16."""

import torch
from torch import Tensor

from ancestral.engine.session import Array
from ancestral.signature import TensorSpec


def to_device(array: Array, spec: TensorSpec, device: str) -> Tensor:
    """A copy of a host array as the tensor that it stands for."""
    tensor = torch.tensor(array, device=device)
    return tensor.bfloat16() if spec.dtype == "bfloat16" else tensor


def to_host(tensor: Tensor, spec: TensorSpec) -> Array:
    """A copy of a tensor as the host holds it."""
    typed = tensor.to(getattr(torch, spec.dtype))
    held: Array = typed.to(getattr(torch, str(spec.host))).cpu().numpy().copy()
    return held
