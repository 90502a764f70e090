"""Decode latents along paths and over grids.

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
"""Number of samples from which `widest` finds the latent dimensions in use."""
PATHS = ("linear", "spherical")
_PARALLEL = 1e-6
"""Angle in radians; nearer than this to 0 or pi, a path is a straight line."""


def interpolate(
    runner: LatentRunner, start: ArrayLike, end: ArrayLike, steps: int = 8, path: str = "linear"
) -> NDArray[np.float32]:
    """Return E[x | z] along paths between the posterior means of pairs of events.

    Args:
        runner: the engine, of a model with real latents.
        start: events where the paths begin, [n, *event_shape] or [n, t], as in `encode`.
        end: events where the paths end, as many as in `start`.
        steps: number of points of each path, both ends included, at least 2.
        path: "linear", or "spherical": the direction follows the great circle, and the length
            changes linearly, so that points are as long as latents of a standard normal prior.

    Returns:
        Means in units of levels, [n, steps, *event_shape], float32.

    Raises:
        InvalidInput: an argument is invalid, an output of the model is not finite, or the latents
            are codes.
        BundleError: the weights have changed since the bundle was opened.

    References:
        White (2016), Sampling generative networks, arXiv:1609.04468, section 2.1 (spherical).

    For example:

        engine.interpolate(x[:1], x[1:2], steps=8, path="spherical")  # [1, 8, *event_shape]
    """
    _refuse_codes(runner, "interpolate")
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
    """Return E[x | z] over two latent dimensions at quantiles of N(0, 1), the others at 0.

    Args:
        runner: the engine, of a model with real latents.
        side: number of points of each dimension, at the quantiles (i + 1/2) / side.
        dimensions: two indices into the flattened latent; None takes those of `widest`.

    Returns:
        Means in units of levels, [side, side, *event_shape], float32; the first dimension runs
        down, the second to the right.

    Raises:
        InvalidInput: an argument is invalid, an output of the model is not finite, or the latents
            are codes.
        BundleError: the weights have changed since the bundle was opened.

    References:
        Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114, appendix A.
    """
    _refuse_codes(runner, "latent_grid")
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
    """Return the two latent dimensions whose posterior means vary most over 256 samples.

    Args:
        runner: the engine, of a model with real latents.

    Returns:
        Two indices into the flattened latent, the one of largest variance first.

    Raises:
        InvalidInput: the latents are codes, or an output of the model is not finite.
        BundleError: the weights have changed since the bundle was opened.
    """
    _refuse_codes(runner, "widest")
    varied = means(runner, sample(runner, _PROBED).x).reshape(_PROBED, -1).var(axis=0)
    order = np.argsort(-varied)
    return int(order[0]), int(order[min(1, len(order) - 1)])


def between(
    a: Float[np.ndarray, "n ..."],
    b: Float[np.ndarray, "n ..."],
    steps: int,
    path: str,
) -> Float[np.ndarray, "n s *l"]:
    """Return points from a to b, both ends included.

    Args:
        a: points where the paths begin, [n, *l].
        b: points where they end, [n, *l].
        steps: number of points of each path.
        path: "linear", or "spherical": direction along the great circle, length linear.

    Raises:
        InvalidInput: a point is too large for float32.
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


def _refuse_codes(runner: LatentRunner, method: str) -> None:
    if runner.codes:
        raise InvalidInput(f"{method}: expected a model with real latents, got one with codes")


def _decoded(runner: LatentRunner, z: Array) -> NDArray[np.float32]:
    """Return E[x | z] of latents [n, m, *l]: [n, m, *event_shape]."""
    mean = decode(runner, z.reshape(-1, *runner.latent.shape))[1]
    return mean.reshape(*z.shape[:2], *runner.data.event_shape)
