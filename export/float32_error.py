"""The distance of PyTorch's float32 from float64, and of a draw from the edge of its interval."""

import torch
from torch import Tensor


def own_error(name: str, sampled: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """Return the largest |error| as `name`, and that of samples and of noise as `name`_halves [2].

    The error of a half without events is 0.
    """
    halves = torch.stack(
        [each.abs().amax() if each.numel() else each.new_zeros(()) for each in (sampled, noise)]
    )
    return {name: halves.amax(), f"{name}_halves": halves}


def difference(a: Tensor, b: Tensor) -> Tensor:
    """Return a - b in float64; 0 where both are the same infinity."""
    return torch.where(a == b, 0.0, a.double() - b)


def worst(near: Tensor, exact: Tensor) -> Tensor:
    """Return the largest |difference|, a scalar."""
    return difference(near, exact).abs().amax()


def widened(x: Tensor) -> Tensor:
    """Convert a floating-point tensor to float64; return other tensors unchanged."""
    return x.double() if x.is_floating_point() else x


def margin(edges: Tensor, u: Tensor, drawn: Tensor) -> Tensor:
    """Return the distance of u to the nearer edge of the drawn value's interval, [...].

    Args:
        edges: cumulative distribution, [..., v].
        u: uniforms, [...].
        drawn: values that u draws, [...].
    """
    lower = torch.nn.functional.pad(edges, (1, 0)).gather(-1, drawn[..., None])[..., 0]
    upper = edges.gather(-1, drawn[..., None])[..., 0]
    return torch.minimum(u - lower, upper - u)
