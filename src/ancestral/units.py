"""Units of log-probabilities: nats of an event, bits per dimension; and how they are printed."""

import math

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import reals
from ancestral.errors import InvalidInput


def bits_per_dim(
    log_prob: float | NDArray[np.floating], event_shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Negative log-likelihood per dimension, in bits: -log p / (dims ln 2), in float64.

    A fair coin costs one bit a toss:

    >>> float(bits_per_dim(8 * math.log(0.5), (2, 4)))
    1.0

    Args:
        log_prob: log-probability of each event, in nats, summed over the event; any shape.
        event_shape: shape of one event, (3, 32, 32) say; its product is the number of dimensions.

    Raises:
        InvalidInput: event_shape has no elements.

    References:
        van den Oord et al. (2016), Pixel Recurrent Neural Networks, arXiv:1601.06759, section 5.
    """
    dims = math.prod(event_shape)
    if dims < 1 or not event_shape:
        raise InvalidInput(f"event_shape: expected at least one dimension, got {event_shape}")
    # 0 - x: the bits of a certain event are 0, not -0.
    return np.asarray((0.0 - reals("log_prob", log_prob)) / (dims * math.log(2.0)))


def bits_unit(tokenizer: str | None) -> str:
    """The name of `bits_per_dim` for events of a kind: a value of a text in bytes is a byte.

    Args:
        tokenizer: as in the DataSpec; None where events are not text.
    """
    return "bits/byte" if tokenizer == "bytes" else "bits/dim"


def fixed(value: float, places: int) -> str:
    """A number with so many decimals; what rounds to zero has no sign.

    >>> fixed(-0.0004, 3), fixed(-0.0006, 3)
    ('0.000', '-0.001')
    """
    return f"{value:z.{places}f}"
