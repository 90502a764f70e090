"""Units: the bits of a certain event, and the name and format of numbers of bits."""

import math

import numpy as np
import pytest

from ancestral.units import bits_per_dim, bits_unit, fixed


def test_certain_event_has_zero_bits_without_a_sign() -> None:
    bits = bits_per_dim(np.array([0.0, -math.log(2.0)]), (1, 1))
    assert bits.tolist() == [0.0, 1.0]
    assert not np.signbit(bits).any()


@pytest.mark.parametrize(
    ("value", "text"),
    [(-0.0, "0.000"), (-0.00049, "0.000"), (-0.0006, "-0.001"), (1.23456, "1.235")],
)
def test_rounded_zero_has_no_sign(value: float, text: str) -> None:
    assert fixed(value, 3) == text
    assert fixed(np.float64(value), 3) == text


def test_unit_of_text_in_bytes() -> None:
    assert (bits_unit("bytes"), bits_unit(None), bits_unit("json")) == (
        "bits/byte",
        "bits/dim",
        "bits/dim",
    )
