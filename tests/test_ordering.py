"""Orderings are permutations, and neighbours are sites that were drawn before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import Ordering, neighbours, permutation

SHAPES = st.sampled_from([(5,), (3, 4), (4, 3), (2, 3, 2)])
NAMES = st.sampled_from(["raster", "random:0", "random:17"])


@given(shape=SHAPES, ordering=NAMES)
def test_permutation(shape: tuple[int, ...], ordering: str) -> None:
    order = permutation(ordering, shape)
    assert sorted(order) == list(range(int(np.prod(shape))))
    assert np.array_equal(permutation(tuple(order.tolist()), shape), order)


@given(shape=SHAPES, ordering=NAMES)
def test_in_place_undoes_in_order(shape: tuple[int, ...], ordering: str) -> None:
    data = DataSpec(name="x", event_shape=shape, levels=9, ordering=ordering)
    x = np.random.default_rng(0).integers(0, 9, (4, *shape))
    sequences = data.in_order(x)
    assert sequences.shape == (4, data.length)
    assert np.array_equal(data.in_place(sequences), x)
    assert np.array_equal(sequences[:, 1], x.reshape(4, -1)[:, data.order[1]])


def test_column() -> None:
    assert permutation("column", (2, 3)).tolist() == [0, 3, 1, 4, 2, 5]
    assert permutation("column", (2, 2, 2)).tolist() == [0, 1, 4, 5, 2, 3, 6, 7]


def test_random_depends_on_the_seed() -> None:
    """A random ordering, from Philox, is the same on every machine."""
    one, other = (permutation(f"random:{seed}", (4, 4)) for seed in (3, 4))
    assert not np.array_equal(one, other)
    assert one.tolist() == permutation("random:3", (16,)).tolist()
    assert one.tolist() == [8, 14, 3, 15, 11, 1, 9, 12, 5, 10, 2, 0, 6, 13, 4, 7]


@pytest.mark.parametrize(
    ("ordering", "message"),
    [
        ((0, 1, 2), "got 3 sites"),
        ((0, 1, 1, 2, 3, 5), r"expected each site of 0 .. 5 once, got sites without \[4\]"),
        ((0, 1, 2, 3, 4, 6), r"got sites without \[5\]"),
        ("diagonal", "expected raster, column .* got 'diagonal'"),
        ("random", "got 'random'"),
        ("random:-1", "got 'random:-1'"),
        ("raster:1", "got 'raster:1'"),
    ],
)
def test_refused(ordering: Ordering, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        permutation(ordering, (2, 3))
    with pytest.raises(ValueError, match=message):
        DataSpec(name="x", event_shape=(2, 3), levels=2, ordering=ordering)


def test_column_of_a_sequence() -> None:
    with pytest.raises(InvalidInput, match=r"column \(for images\)"):
        permutation("column", (6,))


@given(shape=st.sampled_from([(3, 4), (4, 3)]), ordering=NAMES)
def test_neighbours_precede(shape: tuple[int, int], ordering: str) -> None:
    """A neighbour is at its displacement, in the image, and drawn before; -1 if there is none."""
    order = permutation(ordering, shape)
    offsets = [(-1, 0), (0, 1), (1, -1)]
    found = neighbours(order, shape, offsets)
    for t, site in enumerate(order):
        for n, offset in enumerate(offsets):
            there = np.array(np.unravel_index(site, shape)) + offset
            inside = bool(((there >= 0) & (there < shape)).all())
            earlier = inside and list(order).index(np.ravel_multi_index(tuple(there), shape)) < t
            assert (found[t, n] >= 0) == earlier
            if earlier:
                assert order[found[t, n]] == np.ravel_multi_index(tuple(there), shape)


def test_neighbour_of_another_shape() -> None:
    with pytest.raises(InvalidInput, match=r"expected 2 displacements .* got \(-1,\)"):
        neighbours(permutation("raster", (2, 3)), (2, 3), [(-1,)])
