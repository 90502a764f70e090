"""Paths between latents.

References:
    White (2016), Sampling generative networks, arXiv:1609.04468, section 2.1 (spherical).
"""

import numpy as np
from jaxtyping import Float

from ancestral.arrays import float32
from ancestral.errors import InvalidInput

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
        InvalidInput: another path, or one that leaves float32.
    """
    if path not in PATHS:
        raise InvalidInput(f"path: expected one of {PATHS}, got {path!r}")
    at = np.linspace(0, 1, steps)[None, :, None]
    start, end = (each.reshape(len(each), 1, -1).astype(np.float64) for each in (a, b))
    points = start + at * (end - start)
    if path == "spherical":
        lengths = [np.linalg.norm(each, axis=-1, keepdims=True) for each in (start, end)]
        units = [
            each / np.maximum(size, 1e-12) for each, size in zip((start, end), lengths, strict=True)
        ]
        angle = np.arccos(np.clip((units[0] * units[1]).sum(-1, keepdims=True), -1, 1))
        sine = np.maximum(np.sin(angle), 1e-12)
        direction = (
            np.sin((1 - at) * angle) / sine * units[0] + np.sin(at * angle) / sine * units[1]
        )
        length = lengths[0] + at * (lengths[1] - lengths[0])
        turns = (angle > _PARALLEL) & (angle < np.pi - _PARALLEL)
        points = np.where(turns, length * direction, points)
    return float32("path", points.reshape(len(a), steps, *a.shape[1:]))
