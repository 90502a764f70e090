"""How far PyTorch's float32 is from float64, and how near a draw is to an edge."""

import torch
from torch import Tensor


def own_error(name: str, sampled: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """The largest |error| by its name, and those of the model's own events and of the noise, [2].

    One of which there are no errors is 0.
    """
    halves = torch.stack(
        [each.abs().amax() if each.numel() else each.new_zeros(()) for each in (sampled, noise)]
    )
    return {name: halves.amax(), f"{name}_halves": halves}


def difference(a: Tensor, b: Tensor) -> Tensor:
    """a - b in float64, and 0 where both are the same infinity."""
    return torch.where(a == b, 0.0, a.double() - b)


def worst(near: Tensor, exact: Tensor) -> Tensor:
    """The largest |difference|."""
    return difference(near, exact).abs().amax()


def widened(x: Tensor) -> Tensor:
    """A tensor in float64, or as it is where it holds no floats."""
    return x.double() if x.is_floating_point() else x


def margin(edges: Tensor, u: Tensor, drawn: Tensor) -> Tensor:
    """Distance of u to the nearer edge of the interval of what it draws.

    Args:
        edges: the cumulative distribution, [..., v].
        u: uniforms, [...].
        drawn: values, [...].
    """
    lower = torch.nn.functional.pad(edges, (1, 0)).gather(-1, drawn[..., None])[..., 0]
    upper = edges.gather(-1, drawn[..., None])[..., 0]
    return torch.minimum(u - lower, upper - u)
