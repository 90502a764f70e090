"""Events to latents and back, by the graphs `encode` and `decode`.

What a graph makes has to be finite: no backend may return NaN in place of an error.
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
    """Events [n, t] as the graphs take them.

    Where p(x | z) is a density, levels become real: by uniform noise, or the middle of their
    intervals without any.

    Raises:
        InvalidInput: they are not events of the model.
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
    """Parameters of q(z | x) by name, and its KL(q || p) in nats where it has a closed form.

    They are mean [n, *l] and log_scale [n, *l], or factor [n, l, l], lower triangular, and kl
    [n]; or codes [n, m].

    Args:
        runner: a bundle on a backend.
        x: as in `log_weights`.

    Raises:
        InvalidInput: an argument is wrong, or the encoder makes numbers that are not finite.
    """
    return encode_events(runner, events(runner, x))


def decode(runner: LatentRunner, z: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Parameters of p(x | z) [n, g, p], and E[x | z] [n, *event_shape] in units of levels.

    Args:
        runner: a bundle on a backend.
        z: latents, or codes, [n, *latent_shape].

    Raises:
        InvalidInput: an argument is wrong.
    """
    shape = (None, *runner.latent.shape)
    if runner.prior is not None:
        return decode_latents(runner, inputs.codes(z, shape, runner.prior.data.levels))
    return decode_latents(runner, inputs.real("z", z, shape))


def reconstruct(runner: LatentRunner, x: ArrayLike) -> NDArray[np.float32]:
    """E[x | z] at the mean of q(z | x), or at the codes: [n, *event_shape], units of levels.

    Raises:
        InvalidInput: as in `encode`.
    """
    return decode(runner, means(runner, x))[1]


def means(runner: LatentRunner, x: ArrayLike) -> Array:
    """The mean of q(z | x), or the codes: [n, *latent_shape].

    Raises:
        InvalidInput: as in `encode`.
    """
    return encode(runner, x)["codes" if runner.codes else "mean"]


def encode_events(runner: LatentRunner, x: Array) -> dict[str, Array]:
    """Parameters of q(z | x) by name, or codes, of events [n, t] as the graph takes them.

    Raises:
        InvalidInput: the encoder makes numbers that are not finite.
    """
    found = runner.parallel("encode", x=x)
    check_outputs(X, "events", found)
    return found


def decode_latents(
    runner: LatentRunner, z: Array
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Parameters of p(x | z) [n, g, p], and E[x | z] [n, *event_shape] in units of levels.

    Raises:
        InvalidInput: the decoder makes numbers that are not finite.
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
    """Refuse outputs that are not finite.

    Args:
        name: argument that they come from.
        rows: what the argument holds, in the plural.
        found: outputs by name, [n, ...].
        impossible: names of those that may be -inf, the log of a probability that is 0.
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
                f"{name}: expected {rows} that the model makes finite numbers of, got a {output} "
                f"that is not finite at index {start + wrong[0]} ({len(wrong)} of {len(values)} "
                f"{rows})"
            )
