"""The noise that a latent variable model draws with: of latents, of its prior, of events."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float32, Int64

from ancestral.bundles.manifest import Latent
from ancestral.engine.session import Array
from ancestral.philox import Stream, normals, uniforms, uniforms_of_particles

_FIRST = np.zeros(1, np.int64)
"""The particle of a sample, which has one."""


def latent_noise(
    latent: Latent,
    seed: int,
    indices: Int64[np.ndarray, " n"],
    particles: Int64[np.ndarray, " k"],
    stream: Stream,
) -> Float32[np.ndarray, "n k *l"]:
    """The standard normal noise of k latents of each sample index."""
    size = int(np.prod(latent.shape))
    drawn = normals(seed, indices, particles, size, stream=stream)
    return drawn.reshape(len(indices), len(particles), *latent.shape)


def prior_noise(
    latent: Latent,
    seed: int,
    indices: Int64[np.ndarray, " n"],
    particles: Int64[np.ndarray, " k"],
    stream: Stream,
) -> Mapping[str, Array]:
    """The inputs of the prior's graph for n x k latents as rows: those of a sample are together."""
    noise = latent_noise(latent, seed, indices, particles, stream)
    given: dict[str, Array] = {"noise": noise.reshape(-1, *latent.shape)}
    if latent.prior == "mixture":
        size = int(np.prod(latent.shape))
        u = uniforms_of_particles(seed, indices, particles, size, stream=stream)
        given["u"] = u.reshape(-1)
    return given


def sample_prior_noise(
    latent: Latent, seed: int, indices: Int64[np.ndarray, " n"]
) -> Mapping[str, Array]:
    """The inputs of the prior's graph for the latents of samples."""
    return prior_noise(latent, seed, indices, _FIRST, Stream.Z)


def event_noise(
    latent: Latent, seed: int, indices: Int64[np.ndarray, " n"], length: int
) -> dict[str, Array]:
    """The noise inputs of the graph that draws events of that length from their latents."""
    if latent.continuous:
        drawn = normals(seed, indices, _FIRST, length, stream=Stream.X_GIVEN_Z)
        return {"noise": drawn[:, 0]}
    return {"u": uniforms(seed, indices, np.arange(length), stream=Stream.X_GIVEN_Z)}
