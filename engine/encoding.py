"""Events to latents and back, by the graphs `encode` and `decode`."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import inputs
from ancestral.engine.finite import check_outputs
from ancestral.engine.noise import Noise
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.philox import Stream, uniforms


def events(runner: Runner, x: ArrayLike, noise: Noise | None = None) -> Array:
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


def encode(runner: Runner, x: Array) -> dict[str, Array]:
    """Parameters of q(z | x) by name, or codes, of events [n, t] as the graph takes them.

    Raises:
        InvalidInput: the encoder makes numbers that are not finite.
    """
    found = runner.parallel("encode", x=x)
    check_outputs("x", "events", found)
    return found


def decode(runner: Runner, z: Array) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Parameters of p(x | z) [n, g, p], and E[x | z] [n, *event_shape] in units of levels.

    Raises:
        InvalidInput: the decoder makes numbers that are not finite.
    """
    found = runner.parallel("decode", z=z)
    check_outputs("z", "latents", found)
    return found["parameters"], found["x_mean"].reshape(-1, *runner.data.event_shape)
