"""Philox4x32-10: Random123's known answers, and uniforms that depend only on seed and counter."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import kstest

from ancestral.errors import InvalidInput
from ancestral.philox import (
    Stream,
    normals,
    philox4x32,
    seed_key,
    to_uniform,
    uniforms,
    uniforms_of_particles,
)

# Random123 1.14, tests/kat_vectors, "philox4x32 10": counter, key, result.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def known_answers(rounds: int) -> list[bool]:
    got = [
        philox4x32(np.array(words(counter), np.uint32), tuple(words(key)), rounds)
        for counter, key, _ in KNOWN
    ]
    return [each.tolist() == words(result) for each, (_, _, result) in zip(got, KNOWN, strict=True)]


def test_known_answers() -> None:
    assert known_answers(10) == [True] * 3


@pytest.mark.parametrize("rounds", [7, 9, 11])
def test_other_rounds_are_another_generator(rounds: int) -> None:
    assert known_answers(rounds) == [False] * 3


def test_counters_are_independent() -> None:
    """Many counters in one call give the results of separate calls."""
    counters = np.arange(40, dtype=np.uint32).reshape(2, 5, 4)
    together = philox4x32(counters, (1, 2))
    for i in np.ndindex(2, 5):
        assert np.array_equal(together[i], philox4x32(counters[i], (1, 2)))


def test_uniforms_end_inside_the_interval() -> None:
    edges = to_uniform(np.array([0, 511, 512, 2**32 - 1], np.uint32))
    assert edges.dtype == np.float32
    assert edges.tolist() == [2.0**-24, 2.0**-24, 1.5 * 2.0**-23, 1 - 2.0**-24]
    assert (edges > 0).all()
    assert (edges < 1).all()


def test_uniforms_are_those_of_the_counter() -> None:
    """A uniform is word 0 for its key (seed, low word first) and counter.

    The counter is position, index, particle, stream.
    """
    seed, index, position, particle = 2**40 + 5, 3, 7, 2
    counter = np.array([position, index, particle, Stream.X_GIVEN_Z], np.uint32)
    bits = philox4x32(counter, (5, 2**8))[:1]
    got = uniforms(
        seed,
        np.array([index]),
        np.array([position]),
        stream=Stream.X_GIVEN_Z,
        particle=particle,
    )
    assert got.tolist() == [to_uniform(bits).tolist()]


def test_function_of_seed_and_counter_only() -> None:
    """Order, batch and neighbours do not matter; seed, index, position, stream and particle do."""
    indices, positions = np.arange(50), np.arange(20)
    whole = uniforms(1, indices, positions)
    order = np.random.default_rng(0).permutation(50)
    assert np.array_equal(uniforms(1, order, positions), whole[order])
    assert np.array_equal(uniforms(1, indices[7:9], positions[3:4]), whole[7:9, 3:4])
    others = [
        uniforms(2, indices, positions),
        uniforms(1 + 2**32, indices, positions),
        uniforms(1, indices + 50, positions),
        uniforms(1, indices, positions + 20),
        uniforms(1, indices, positions, stream=Stream.Z),
        uniforms(1, indices, positions, particle=1),
    ]
    for other in others:
        # The expected number of equal pairs among 1,000 of 23 bits is 1e-4.
        assert (other == whole).sum() <= 1


def test_uniforms_are_uniform() -> None:
    """Mean and variance of 10^6 uniforms are right to 5 standard errors (0.0003, 0.000075)."""
    u = uniforms(0, np.arange(1000), np.arange(1000)).astype(np.float64)
    assert abs(u.mean() - 1 / 2) < 5 * 0.0003
    assert abs(u.var() - 1 / 12) < 5 * 0.000075
    assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 5e-3
    assert abs(np.corrcoef(u[:-1].ravel(), u[1:].ravel())[0, 1]) < 5e-3


def test_seed_key() -> None:
    assert seed_key(2**64 - 2) == (2**32 - 2, 2**32 - 1)
    for seed in (-1, 2**64, True):
        with pytest.raises(InvalidInput, match="seed: expected an integer"):
            seed_key(seed)


@pytest.mark.parametrize("index", [-1, 2**32])
def test_indices_out_of_range(index: int) -> None:
    with pytest.raises(InvalidInput, match="index"):
        uniforms(0, np.array([0, index]), np.array([0]))
    with pytest.raises(InvalidInput, match="position"):
        uniforms(0, np.array([0]), np.array([index]))


def test_normals_are_those_of_the_counter() -> None:
    """A normal is Box-Muller of two words of (dimension // 4, index, particle, stream)."""
    seed, index, particle = 7, 5, 3
    got = normals(seed, np.array([index]), np.array([particle]), 7, stream=Stream.Z)[0, 0]
    for dimension in range(7):
        counter = np.array([dimension // 4, index, particle, Stream.Z], np.uint32)
        block = philox4x32(counter, seed_key(seed)).astype(np.float64)
        pair = block[dimension % 4 // 2 * 2 :][:2]
        u = (pair + 0.5) * 2.0**-32
        turn = np.sin if dimension % 2 else np.cos
        expected = np.sqrt(-2 * np.log(u[0])) * turn(2 * np.pi * u[1])
        assert got[dimension] == np.float32(expected)


def test_normals_depend_on_their_counter_only() -> None:
    """A normal does not depend on the others in the call, or on the number of pieces."""
    indices, particles = np.arange(4000), np.arange(5)
    every = normals(1, indices, particles, 6, stream=Stream.Z)
    assert every.shape == (4000, 5, 6)
    assert np.array_equal(
        normals(1, indices[3900:], particles[2:], 6, stream=Stream.Z), every[3900:, 2:]
    )
    assert np.array_equal(normals(1, indices, particles, 3, stream=Stream.Z), every[..., :3])
    assert normals(1, indices[:0], particles, 6, stream=Stream.Z).shape == (0, 5, 6)
    assert not np.array_equal(normals(1, indices, particles, 6, stream=Stream.X_GIVEN_Z), every)


def test_normals_are_normal() -> None:
    """120,000 normals pass a Kolmogorov-Smirnov test, and dimensions are not correlated."""
    every = normals(2, np.arange(20_000), np.arange(1), 6, stream=Stream.Z)[:, 0].astype(np.float64)
    assert kstest(every.ravel(), "norm").pvalue > 1e-3
    assert kstest(every.ravel() * 1.02, "norm").pvalue < 1e-3
    apart = np.corrcoef(every.T) - np.eye(6)
    assert np.abs(apart).max() < 4.5 / np.sqrt(20_000)
    squares = np.corrcoef((every**2).T) - np.eye(6)
    assert np.abs(squares).max() < 4.5 / np.sqrt(20_000)


def test_uniforms_of_particles() -> None:
    indices, particles = np.arange(3), np.arange(4)
    got = uniforms_of_particles(9, indices, particles, 2, stream=Stream.Z)
    for k in particles:
        one = uniforms(9, indices, np.array([2]), stream=Stream.Z, particle=int(k))
        assert np.array_equal(got[:, k], one[:, 0])


@pytest.mark.usefixtures("called_by_users")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0, 3, [0]), r"index: expected integers \[n\], got shape \(\)"),
        ((0, [0.5], [0]), "index: expected integers, got float64"),
        ((0, [float("nan")], [0]), "index: expected finite numbers"),
        ((0, [0], [[0]]), r"position: expected integers \[n\]"),
        ((0, [0], [2**32]), r"position: expected values in 0 \.\. 4294967295"),
        ((None, [0], [0]), "seed: expected an integer, got None"),
        ((0, np.broadcast_to(0, 2**20), np.broadcast_to(0, 2**20)), "fit in memory"),
    ],
)
def test_arguments(arguments: tuple[Any, ...], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        uniforms(*arguments)


@pytest.mark.usefixtures("called_by_users")
def test_lists_are_arrays() -> None:
    expected = uniforms(3, np.array([0, 2]), np.array([1, 5]), particle=4)
    assert np.array_equal(uniforms(np.array(3), [0, 2], (1, 5), particle=np.int8(4)), expected)
