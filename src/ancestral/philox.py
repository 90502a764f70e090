"""Counter-based noise: Philox4x32-10, the same bits on every machine.

The noise of a sample depends only on the seed, the index of the sample and the place where it is
used; not on the batch, the order, the slot, the backend or the machine.

References:
    Salmon, Moraes, Dror, Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, section 3.3.
    (numpy.random.Philox is a different generator: 4x64 bits.)
"""

import math
from enum import IntEnum

import numpy as np
from jaxtyping import Float32, UInt32
from numpy.typing import NDArray

from ancestral.arrays import LARGEST, check_range, integers
from ancestral.errors import InvalidInput
from ancestral.scalars import whole

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)
_LAST = 2**32 - 1
_PIECE = 2**13
"""Number of blocks of normal numbers that are drawn in one piece."""


class Stream(IntEnum):
    """Purpose of a random number, the last word of the counter.

    No two purposes share a stream, so numbers for different purposes are independent even with the
    same seed and index. For example, the latents that a bound proposes differ from the latents that
    made the sample that it bounds. See docs/decisions/0015.

    Attributes:
        X: values of an autoregressive model, including continuations of a prompt, completions whose
            observed values come first, and codes.
        Z: latents of samples, from the prior.
        X_GIVEN_Z: events of samples, given their latents.
        RESAMPLING: which particles are copied.
        DEQUANTISATION: noise that is added to levels if p(x | z) is a density.
        Z_GIVEN_X: latents from q(z | x) that a bound proposes.
        NAIVE_Z: latents from the prior that a bound by naive Monte Carlo proposes.
        PARTICLES: values that particles draw if an observed value comes after a free one.
        TRAINING_Z_GIVEN_X: latents of the bounds that training reports.
        TRAINING_DEQUANTISATION: noise that is added to levels for those bounds.
        BINARISATION: which pixels of validation and test images are on.
    """

    X = 0
    Z = 1
    X_GIVEN_Z = 2
    RESAMPLING = 3
    DEQUANTISATION = 4
    Z_GIVEN_X = 5
    NAIVE_Z = 6
    PARTICLES = 7
    TRAINING_Z_GIVEN_X = 8
    TRAINING_DEQUANTISATION = 9
    BINARISATION = 10


def philox4x32(
    counter: UInt32[np.ndarray, "*n 4"], key: tuple[int, int], rounds: int = 10
) -> UInt32[np.ndarray, "*n 4"]:
    """Return the Philox4x32 block, four 32-bit words, of each counter.

    Args:
        counter: four words per counter.
        key: two words.
        rounds: number of rounds; 10 is the published generator.
    """
    c0, c1, c2, c3 = (counter[..., i].astype(np.uint64) for i in range(4))
    k0, k1 = key
    for _ in range(rounds):
        p0, p1 = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (
            (p1 >> _WORD) ^ c1 ^ np.uint64(k0),
            p1 & _LOW,
            (p0 >> _WORD) ^ c3 ^ np.uint64(k1),
            p0 & _LOW,
        )
        k0, k1 = (k0 + _WEYL[0]) & 0xFFFFFFFF, (k1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def seed_key(seed: int) -> tuple[int, int]:
    """Return the two key words of a seed: its low and its high 32 bits.

    Raises:
        InvalidInput: `seed` is not an integer in 0 .. 2^64 - 1.
    """
    value = whole("seed", seed, 0, 2**64 - 1)
    return value & 0xFFFFFFFF, value >> 32


def uniforms(
    seed: int,
    indices: NDArray[np.int64],
    positions: NDArray[np.int64],
    *,
    stream: Stream = Stream.X,
    particle: int = 0,
) -> Float32[np.ndarray, "n t"]:
    """Draw uniforms in (0, 1) for samples x positions: ((bits >> 9) + 0.5) * 2^-23, never 0 or 1.

    Args:
        seed: seed of the run.
        indices: sample indices, [n], each in 0 .. 2^32 - 1.
        positions: positions or latent dimensions, [t].
        stream: purpose of the numbers.
        particle: index of the importance sample or particle.

    Raises:
        InvalidInput: a seed, index, position or particle is outside its range.
    """
    one = np.array([whole("particle", particle, 0, _LAST)], np.int64)
    bits = _blocks(seed, indices, positions, one, stream)[:, 0, :, 0]
    return to_uniform(bits)


def uniforms_of_particles(
    seed: int,
    indices: NDArray[np.int64],
    particles: NDArray[np.int64],
    position: int,
    *,
    stream: Stream,
) -> Float32[np.ndarray, "n k"]:
    """Draw the uniforms of one position for samples x particles, equal to those of `uniforms`.

    Raises:
        InvalidInput: as in `uniforms`.
    """
    one = np.array([whole("position", position, 0, _LAST)], np.int64)
    blocks = _blocks(seed, indices, one, particles, stream)
    return to_uniform(blocks[:, :, 0, 0])


def normals(
    seed: int,
    indices: NDArray[np.int64],
    particles: NDArray[np.int64],
    dimensions: int,
    *,
    stream: Stream,
) -> Float32[np.ndarray, "n k d"]:
    """Draw standard normal numbers for samples x particles x dimensions 0 .. d - 1.

    The block whose counter has word 0 = j gives the dimensions 4j .. 4j + 3. With u_i the i-th word
    plus 0.5, times 2^-32, they are sqrt(-2 log u_0) times cos and sin of 2 pi u_1, and the same of
    u_2 and u_3. They are computed in float64 and rounded once.

    Args:
        seed: seed of the run.
        indices: sample indices, [n].
        particles: indices of importance samples, [k].
        dimensions: number of latent dimensions d.
        stream: purpose of the numbers.

    Raises:
        InvalidInput: as in `uniforms`, or the noise does not fit in memory.

    References:
        Box and Muller (1958), A note on the generation of random normal deviates.
    """
    dimensions = whole("dimensions", dimensions, 0, 2**34)
    indices, particles = _words("index", indices), _words("particle", particles)
    # The pieces fit in the CPU's cache: the rounds pass over the counters forty times.
    blocks = -(-dimensions // 4)
    # A block takes eight words of 64 bits while it is computed.
    if 64 * len(particles) * blocks > LARGEST:
        raise InvalidInput(f"dimensions: expected noise that fits in memory, got {dimensions}")
    drawn = np.empty((len(indices), len(particles), dimensions), np.float32)
    rows = max(1, _PIECE // max(1, len(particles) * blocks))
    for start in range(0, len(indices), rows):
        some = indices[start : start + rows]
        words = _blocks(seed, some, np.arange(blocks), particles, stream)
        u = (words.astype(np.float64) + 0.5) * 2.0**-32
        radius = np.sqrt(-2.0 * np.log(u[..., 0::2]))
        angle = 2.0 * np.pi * u[..., 1::2]
        four = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
        flat = four.reshape(len(some), len(particles), 4 * blocks)
        drawn[start : start + rows] = flat[..., :dimensions]
    return drawn


def _blocks(
    seed: int,
    indices: NDArray[np.int64],
    positions: NDArray[np.int64],
    particles: NDArray[np.int64],
    stream: Stream,
) -> UInt32[np.ndarray, "n k t 4"]:
    """Return the blocks of samples x particles x positions.

    Raises:
        InvalidInput: a seed, index, position or particle is outside its range, or the blocks do not
            fit in memory.
    """
    index, place = _words("index", indices), _words("position", positions)
    particle = _words("particle", particles)
    shape = (len(index), len(particle), len(place), 4)
    if 4 * math.prod(shape) > LARGEST:
        raise InvalidInput(f"noise: expected numbers that fit in memory, got {shape[:3]} blocks")
    counter = np.empty(shape, np.uint32)
    counter[..., 0] = place[None, None, :]
    counter[..., 1] = index[:, None, None]
    counter[..., 2] = particle[None, :, None]
    counter[..., 3] = int(stream)
    return philox4x32(counter, seed_key(seed))


def _words(name: str, values: object) -> NDArray[np.int64]:
    """Check values of a counter word, [n].

    Raises:
        InvalidInput: `values` are not integers in 0 .. 2^32 - 1 of shape [n].
    """
    array = integers(name, values)
    if array.ndim != 1:
        raise InvalidInput(f"{name}: expected integers [n], got shape {array.shape}")
    check_range(name, array, 0, _LAST)
    return array


def to_uniform(bits: NDArray[np.uint32]) -> NDArray[np.float32]:
    """Map bits to the midpoints of the 2^23 equal cells of (0, 1), exact in float32."""
    return ((bits >> np.uint32(9)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-23)
