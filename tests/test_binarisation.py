"""Binary data: an event has the bits that training gives it."""

import numpy as np
import pytest

from ancestral import binarisation
from ancestral.binarisation import binarised, chance
from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.philox import Stream, uniforms
from ancestral.train.data.dataset import Dataset, cut, fractional_split

X = np.random.default_rng(0).integers(0, 17, (50, 12))


def data() -> Dataset:
    spec = DataSpec(name="data", event_shape=(3, 4), levels=17)
    return cut(spec, X, None, fractional_split(len(X)))


def test_by_definition() -> None:
    index = np.array([3, 1, 2**31])
    u = uniforms(5, index, np.arange(12), stream=Stream.BINARISATION)
    np.testing.assert_array_equal(binarised(X[:3], 17, index, 5), u < np.float32(X[:3] / 16))
    assert binarised(np.full((1, 12), 16), 17, index[:1]).min() == 1
    assert binarised(np.zeros((1, 12), np.int64), 17, index[:1]).max() == 0


def test_as_in_training() -> None:
    """Binarising all events in one call gives the bits of the separate parts in training."""
    bits, parts = binarised(X, 17, np.arange(len(X))), data().binarised()
    for name in ("train", "validation", "test"):
        np.testing.assert_array_equal(
            getattr(parts, name).x, bits[getattr(parts.split, name)], err_msg=name
        )
    assert parts.train.chance is not None
    np.testing.assert_array_equal(parts.train.chance, np.float32(data().train.x / 16))
    assert parts.test.chance is None


def test_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = binarised(X, 17, np.arange(len(X)))
    monkeypatch.setattr(binarisation, "_NUMBERS", 25)
    np.testing.assert_array_equal(binarised(X, 17, np.arange(len(X))), whole)


def test_refused() -> None:
    with pytest.raises(InvalidInput, match="expected more than 2 levels, got 2"):
        chance(X, 2)
    with pytest.raises(InvalidInput, match="index"):
        binarised(X[:1], 17, np.array([-1]))
