"""Random numbers of a batch: for values, latents, draws from the prior and from p(x | z)."""

import math
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ancestral.bundles.manifest import Latent
from ancestral.philox import Stream, normals, uniforms, uniforms_of_particles
from ancestral.step_tensors import U


@dataclass(frozen=True, slots=True)
class Noise:
    """The uniforms of consecutive samples: row i has those of (seed, first_index + i).

    Attributes:
        seed: integer in 0 .. 2^64 - 1.
        first_index: sample index of the first row.
        stream: what the numbers are for; streams are independent.
    """

    seed: int
    first_index: int
    stream: Stream = Stream.X

    def uniforms(self, rows: int, positions: int) -> NDArray[np.float32]:
        """Return uniforms in (0, 1), [rows, positions].

        Raises:
            InvalidInput: the seed or an index is out of range.
        """
        at = np.arange(positions, dtype=np.int64)
        return uniforms(self.seed, self.indices(rows), at, stream=self.stream)

    def row(self, positions: int) -> NDArray[np.float32]:
        """Return the uniforms of the first row, [positions], after `check`; they are read-only."""
        return _row(self, positions)

    def check(self, rows: int) -> None:
        """Check the seed and the indices of `rows` rows before anything is drawn.

        Raises:
            InvalidInput: the seed or an index is out of range.
        """
        self.after(rows - 1).uniforms(1, 1)

    def after(self, rows: int) -> "Noise":
        """Return the noise that begins `rows` samples later."""
        return replace(self, first_index=self.first_index + rows)

    def indices(self, rows: int) -> NDArray[np.int64]:
        """Return the sample index of each row, [rows]."""
        return np.arange(self.first_index, self.first_index + rows, dtype=np.int64)


@lru_cache(maxsize=1)
def _row(noise: Noise, positions: int) -> NDArray[np.float32]:
    """Return the uniforms of a row, kept because its proposals and its loop both need them."""
    found: NDArray[np.float32] = noise.uniforms(1, positions)[0]
    found.flags.writeable = False
    return found


FIRST = np.zeros(1, np.int64)
"""Particle index 0, [1]: for draws with a single particle per sample."""


def latent_noise(
    latent: Latent, noise: Noise, n: int, particles: Int64[np.ndarray, " k"], stream: Stream
) -> Float32[np.ndarray, "n k *l"]:
    """Return the standard normal noise of k latents of each of n samples."""
    size = math.prod(latent.shape)
    drawn = normals(noise.seed, noise.indices(n), particles, size, stream=stream)
    return drawn.reshape(n, len(particles), *latent.shape)


def prior_noise(
    latent: Latent, noise: Noise, n: int, particles: Int64[np.ndarray, " k"], stream: Stream
) -> dict[str, NDArray[Any]]:
    """Return the noise inputs of the prior's graph, for n * k rows: k adjacent ones per sample."""
    drawn = latent_noise(latent, noise, n, particles, stream)
    given: dict[str, NDArray[Any]] = {"noise": drawn.reshape(-1, *latent.shape)}
    if latent.prior == "mixture":
        size, indices = math.prod(latent.shape), noise.indices(n)
        u = uniforms_of_particles(noise.seed, indices, particles, size, stream=stream)
        given[U] = u.reshape(-1)
    return given


def event_noise(latent: Latent, noise: Noise, n: int, length: int) -> dict[str, NDArray[Any]]:
    """Return the noise inputs of the graph that draws events of `length` values from latents."""
    indices = noise.indices(n)
    if latent.continuous:
        drawn = normals(noise.seed, indices, FIRST, length, stream=Stream.X_GIVEN_Z)
        return {"noise": drawn[:, 0]}
    return {U: uniforms(noise.seed, indices, np.arange(length), stream=Stream.X_GIVEN_Z)}
