"""Latents along paths and over grids.

References:
    White (2016), Sampling generative networks, arXiv:1609.04468, section 2.1 (spherical).
"""

from statistics import NormalDist

import numpy as np
from jaxtyping import Float, Float32

from ancestral.arrays import float32

PATHS = ("linear", "spherical")
_PARALLEL = 1e-6
"""Below this angle, in radians, a great circle is a straight line."""


def between(
    a: Float[np.ndarray, "n ..."],
    b: Float[np.ndarray, "n ..."],
    steps: int,
    path: str,
) -> Float[np.ndarray, "n s *l"]:
    """Points from a to b, both among them.

    Args:
        a: where each path begins.
        b: where it ends.
        steps: points.
        path: "linear", or "spherical": direction along the great circle, length linear.

    Raises:
        InvalidInput: the path leaves float32.
    """
    at = np.linspace(0, 1, steps)[None, :, None]
    start, end = (each.reshape(len(each), 1, -1).astype(np.float64) for each in (a, b))
    points = start + at * (end - start)
    if path == "spherical":
        lengths = [np.linalg.norm(each, axis=-1, keepdims=True) for each in (start, end)]
        u, v = (
            each / np.maximum(size, 1e-12) for each, size in zip((start, end), lengths, strict=True)
        )
        angle = np.arccos(np.clip((u * v).sum(-1, keepdims=True), -1, 1))
        sine = np.maximum(np.sin(angle), 1e-12)
        direction = np.sin((1 - at) * angle) / sine * u + np.sin(at * angle) / sine * v
        length = lengths[0] + at * (lengths[1] - lengths[0])
        turns = (angle > _PARALLEL) & (angle < np.pi - _PARALLEL)
        points = np.where(turns, length * direction, points)
    return float32("path", points.reshape(len(a), steps, *a.shape[1:]))


def grid(side: int, size: int, down: int, right: int) -> Float32[np.ndarray, "s s l"]:
    """Latents of so many numbers, two of them at quantiles (i + 1/2) / side, the others 0."""
    normal = NormalDist()
    at = np.array([normal.inv_cdf((i + 0.5) / side) for i in range(side)], np.float32)
    z = np.zeros((side, side, size), np.float32)
    z[..., right] = at[None, :]
    z[..., down] = at[:, None]
    return z
