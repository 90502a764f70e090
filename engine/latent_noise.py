"""The noise that a latent variable model draws with: of latents, of its prior, of events."""

import math

import numpy as np
from jaxtyping import Float32, Int64

from ancestral.bundles.manifest import Latent
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array
from ancestral.philox import Stream, normals, uniforms, uniforms_of_particles
from ancestral.step_tensors import U

FIRST = np.zeros(1, np.int64)
"""The particle of a sample, which has one."""


def latent_noise(
    latent: Latent, noise: Noise, n: int, particles: Int64[np.ndarray, " k"], stream: Stream
) -> Float32[np.ndarray, "n k *l"]:
    """The standard normal noise of k latents of each of n samples."""
    size = math.prod(latent.shape)
    drawn = normals(noise.seed, noise.indices(n), particles, size, stream=stream)
    return drawn.reshape(n, len(particles), *latent.shape)


def prior_noise(
    latent: Latent, noise: Noise, n: int, particles: Int64[np.ndarray, " k"], stream: Stream
) -> dict[str, Array]:
    """The inputs of the prior's graph for n x k latents as rows: those of a sample are together."""
    drawn = latent_noise(latent, noise, n, particles, stream)
    given: dict[str, Array] = {"noise": drawn.reshape(-1, *latent.shape)}
    if latent.prior == "mixture":
        size, indices = math.prod(latent.shape), noise.indices(n)
        u = uniforms_of_particles(noise.seed, indices, particles, size, stream=stream)
        given[U] = u.reshape(-1)
    return given


def event_noise(latent: Latent, noise: Noise, n: int, length: int) -> dict[str, Array]:
    """The noise inputs of the graph that draws events of that length from their latents."""
    indices = noise.indices(n)
    if latent.continuous:
        drawn = normals(noise.seed, indices, FIRST, length, stream=Stream.X_GIVEN_Z)
        return {"noise": drawn[:, 0]}
    return {U: uniforms(noise.seed, indices, np.arange(length), stream=Stream.X_GIVEN_Z)}
