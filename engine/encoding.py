"""Encode events to latents and decode latents, by the graphs `encode` and `decode`.

The outputs are checked: a value that is not finite is an error on every backend.
"""

from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import inputs
from ancestral.engine.noise import Noise
from ancestral.engine.runner import LatentRunner
from ancestral.engine.session import Array
from ancestral.errors import InvalidInput
from ancestral.philox import Stream, uniforms
from ancestral.step_tensors import X


def events(runner: LatentRunner, x: ArrayLike, noise: Noise | None = None) -> Array:
    """Return events [n, t] as the graphs take them.

    If p(x | z) is a density, uniform noise is added to levels; without noise, 1/2.

    Raises:
        InvalidInput: `x` are not events of the model.
    """
    if not runner.latent.continuous:
        return inputs.events(x, runner.data)
    values = inputs.real_events(x, runner.data)
    if values.dtype.kind == "f":
        return values
    if noise is None:
        return (values + np.float32(0.5)).astype(np.float32)
    indices, at = noise.indices(len(values)), np.arange(runner.data.length)
    u = uniforms(noise.seed, indices, at, stream=Stream.DEQUANTISATION)
    return np.asarray(values + u, np.float32)


def encode(runner: LatentRunner, x: ArrayLike) -> dict[str, Array]:
    """Return the parameters of q(z | x) of each event.

    Args:
        runner: the engine.
        x: events, [n, *event_shape] or [n, t]: levels, or real values in units of levels if
            p(x | z) is a density. A level i of a density stands for i + 1/2.

    Returns:
        A dict of arrays. For codes it has "codes", [n, *latent_shape]. For real latents it has
        "mean", [n, *latent_shape]; "log_scale", [n, *latent_shape], or "factor", a lower
        triangular L [n, l, l] of covariance L L^T; and "kl", KL(q || p) in nats, [n], if it has a
        closed form.

    Raises:
        InvalidInput: an argument is invalid, or an output of the encoder is not finite.
        BundleError: the weights have changed since the bundle was opened.

    References:
        Kingma and Welling (2014), Auto-encoding variational Bayes, arXiv:1312.6114, section 2.1.

    For example:

        q = engine.encode(x)
        z = q["mean"] + np.exp(q["log_scale"]) * noise  # a draw from a diagonal q(z | x)
    """
    return encode_events(runner, events(runner, x))


def decode(runner: LatentRunner, z: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the parameters and the mean of p(x | z) of each latent.

    Args:
        runner: the engine.
        z: real latents, or codes, [n, *latent_shape].

    Returns:
        The parameters of p(x | z), [n, g, p], which are p numbers for each of g values or pixels;
        and E[x | z], [n, *event_shape], in units of levels. Both are float32.

    Raises:
        InvalidInput: `z` is invalid, or an output of the decoder is not finite.
        BundleError: the weights have changed since the bundle was opened.

    For example:

        parameters, mean = engine.decode(engine.means(x))
    """
    shape = (None, *runner.latent.shape)
    if runner.prior is not None:
        return decode_latents(runner, inputs.codes(z, shape, runner.prior.data.levels))
    return decode_latents(runner, inputs.real("z", z, shape))


def reconstruct(runner: LatentRunner, x: ArrayLike) -> NDArray[np.float32]:
    """Return E[x | z] of each event at the mean of q(z | x), or at its codes.

    Args:
        runner: the engine.
        x: events, as in `encode`.

    Returns:
        Means in units of levels, [n, *event_shape], float32.

    Raises:
        InvalidInput: as in `encode` and `decode`.
        BundleError: the weights have changed since the bundle was opened.
    """
    return decode(runner, means(runner, x))[1]


def means(runner: LatentRunner, x: ArrayLike) -> Array:
    """Return the mean of q(z | x) of each event, or its codes.

    Args:
        runner: the engine.
        x: events, as in `encode`.

    Returns:
        Latents, [n, *latent_shape], float32; or codes, int64.

    Raises:
        InvalidInput: as in `encode`.
        BundleError: the weights have changed since the bundle was opened.
    """
    return encode(runner, x)["codes" if runner.codes else "mean"]


def encode_events(runner: LatentRunner, x: Array) -> dict[str, Array]:
    """Return the outputs of the encoder by name, for events [n, t] as the graph takes them.

    Raises:
        InvalidInput: an output is not finite.
    """
    found = runner.parallel("encode", x=x)
    check_outputs(X, "events", found)
    return found


def decode_latents(
    runner: LatentRunner, z: Array
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the parameters of p(x | z), [n, g, p], and E[x | z] in levels, [n, *event_shape].

    Raises:
        InvalidInput: an output of the decoder is not finite.
    """
    found = runner.parallel("decode", z=z)
    check_outputs("z", "latents", found)
    return found["parameters"], found["x_mean"].reshape(-1, *runner.data.event_shape)


def check_outputs(
    name: str,
    rows: str,
    found: Mapping[str, Array],
    *,
    impossible: Collection[str] = (),
    start: int = 0,
) -> None:
    """Check that outputs are finite.

    Args:
        name: name of the argument that they are computed from.
        rows: what the argument holds, in the plural.
        found: outputs by name, [n, ...].
        impossible: names of outputs that may be -inf, the log of a probability of 0.
        start: index of the first row.

    Raises:
        InvalidInput: an output is not finite.
    """
    for output, values in found.items():
        sound = np.isfinite(values)
        if output in impossible:
            sound |= np.isneginf(values)
        wrong = np.flatnonzero(~sound.reshape(len(values), -1).all(axis=1))
        if len(wrong):
            raise InvalidInput(
                f"{name}: the model's {output} is not finite at index {start + wrong[0]} "
                f"({len(wrong)} of {len(values)} {rows}); the values may be too large for the "
                f"model, or the weights may contain NaN"
            )
