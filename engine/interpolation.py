"""Latents along paths and over grids.

References:
    White (2016), Sampling generative networks, arXiv:1609.04468, section 2.1 (spherical).
"""

from statistics import NormalDist

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import float32
from ancestral.engine import arguments, budget
from ancestral.engine.encoding import decode, means
from ancestral.engine.latent_sample import sample
from ancestral.engine.runner import LatentRunner
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput
from ancestral.scalars import whole

_PROBED = 256
"""Samples by which the latent dimensions in use are found."""
PATHS = ("linear", "spherical")
_PARALLEL = 1e-6
"""Below this angle, in radians, a great circle is a straight line."""


def interpolate(
    runner: LatentRunner, start: ArrayLike, end: ArrayLike, steps: int = 8, path: str = "linear"
) -> NDArray[np.float32]:
    """E[x | z] along a path between the posterior means of events: [n, steps, *event_shape].

    Args:
        runner: a bundle on a backend.
        start: events where the paths begin, as in `encode`.
        end: as many, where they end.
        steps: points of each path, both ends among them.
        path: "linear"; or "spherical", along the great circle, which keeps the length that
            latents of a standard normal prior have.

    Raises:
        InvalidInput: an argument is wrong, or the latents are codes.
    """
    _refuse_codes(runner, "interpolate: there is nothing between two codes")
    steps = whole("steps", steps, 2)
    path = arguments.choice("path", path, PATHS)
    a, b = means(runner, start), means(runner, end)
    if a.shape != b.shape:
        raise InvalidInput(f"end: expected {len(a)} events as in start, got {len(b)}")
    each = 8 * len(a) * max(runner.data.length, runner.latent_size)
    budget.check_size("steps", steps, each)
    return _decoded(runner, between(a, b, steps, path))


def latent_grid(
    runner: LatentRunner, side: int = 10, dimensions: tuple[int, int] | None = None
) -> NDArray[np.float32]:
    """E[x | z] over two latent dimensions at quantiles of N(0, 1), the others at 0.

    Args:
        runner: a bundle on a backend.
        side: points of each dimension, at the quantiles (i + 1/2) / side.
        dimensions: of the flattened latents; the two whose posterior means vary most over 256
            samples of the model where None.

    Returns:
        [side, side, *event_shape]; the first dimension runs down, the second to the right.

    Raises:
        InvalidInput: an argument is wrong, or the latents are codes.
    """
    _refuse_codes(runner, "latent_grid: there is nothing between two codes")
    side, size = whole("side", side, 1), runner.latent_size
    budget.check_size("side", side, 4 * side * max(runner.data.length, size))
    chosen = widest(runner) if dimensions is None else dimensions
    down, right = arguments.pair("dimensions", chosen, size - 1)
    normal = NormalDist()
    at = np.array([normal.inv_cdf((i + 0.5) / side) for i in range(side)], np.float32)
    z = np.zeros((side, side, size), np.float32)
    z[..., right] = at[None, :]
    z[..., down] = at[:, None]
    return _decoded(runner, z)


def widest(runner: LatentRunner) -> tuple[int, int]:
    """The two flattened latent dimensions whose posterior means vary most over samples.

    Raises:
        InvalidInput: the latents are codes.
    """
    _refuse_codes(runner, "widest: codes have no mean")
    varied = means(runner, sample(runner, _PROBED).x).reshape(_PROBED, -1).var(axis=0)
    order = np.argsort(-varied)
    return int(order[0]), int(order[min(1, len(order) - 1)])


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


def _refuse_codes(runner: LatentRunner, message: str) -> None:
    if runner.codes:
        raise InvalidInput(message)


def _decoded(runner: LatentRunner, z: Array) -> NDArray[np.float32]:
    """E[x | z] of latents [n, m, *l]: [n, m, *event_shape]."""
    mean = decode(runner, z.reshape(-1, *runner.latent.shape))[1]
    return mean.reshape(*z.shape[:2], *runner.data.event_shape)
