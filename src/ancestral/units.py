"""Units of log-probabilities, nats per event and bits per dimension, and their formatting."""

import math

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import reals
from ancestral.errors import InvalidInput


def bits_per_dim(
    log_prob: float | NDArray[np.floating], event_shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return the negative log-likelihood in bits per dimension: -log p / (dims ln 2), in float64.

    A fair coin costs one bit per toss:

    >>> float(bits_per_dim(8 * math.log(0.5), (2, 4)))
    1.0

    Args:
        log_prob: log-probability of each event, in nats, summed over the event; any shape.
        event_shape: shape of one event, for example (3, 32, 32); its product is the number of
            dimensions.

    Raises:
        InvalidInput: `event_shape` is empty, or its product is less than 1.

    References:
        van den Oord et al. (2016), Pixel Recurrent Neural Networks, arXiv:1601.06759, section 5.
    """
    dims = math.prod(event_shape)
    if dims < 1 or not event_shape:
        raise InvalidInput(f"event_shape: expected at least one dimension, got {event_shape}")
    # 0.0 - x rather than -x: a certain event has 0 bits, not -0.
    return np.asarray((0.0 - reals("log_prob", log_prob)) / (dims * math.log(2.0)))


def bits_unit(tokenizer: str | None) -> str:
    """Return the name of the unit of `bits_per_dim`: "bits/byte" for text in bytes.

    Args:
        tokenizer: kind of tokenizer, as in DataSpec; `None` if events are not text.
    """
    return "bits/byte" if tokenizer == "bytes" else "bits/dim"


def fixed(value: float, places: int) -> str:
    """Format a number with a fixed number of decimals; zero never has a sign.

    >>> fixed(-0.0004, 3), fixed(-0.0006, 3)
    ('0.000', '-0.001')
    """
    return f"{value:z.{places}f}"
