"""Binarise levels at random: a value is 1 with probability level / (levels - 1).

References:
    Salakhutdinov and Murray (2008), On the quantitative analysis of deep belief networks,
    section 6; Burda et al. (2016), arXiv:1509.00519, section 5.1.1.
"""

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import NDArray

from ancestral.errors import InvalidInput
from ancestral.philox import Stream, uniforms

_NUMBERS = 2**20
"""Number of values that are drawn in one piece."""


def chance(x: Int64[np.ndarray, "n t"], levels: int) -> Float32[np.ndarray, "n t"]:
    """Return the probability that each value becomes 1: level / (levels - 1).

    Raises:
        InvalidInput: `levels` is less than 3: the data are binary already.
    """
    if levels < 3:
        raise InvalidInput(f"binarised: expected more than 2 levels, got {levels}")
    return (x / (levels - 1)).astype(np.float32)


def binarised(
    x: Int64[np.ndarray, "n t"], levels: int, index: NDArray[np.int64], seed: int = 0
) -> Int64[np.ndarray, "n t"]:
    """Draw 0 or 1 for each value; the draw of an event depends only on the seed and its index.

    Training binarises its validation and test events in the same way, each with its index in the
    source, so an event with the same index and seed gets the same bits here.

    Args:
        x: levels 0 .. levels - 1 in raster order, [n, t].
        levels: number of levels of the data.
        index: index of each event in its source, [n].
        seed: seed of the draws.

    Raises:
        InvalidInput: `levels` is less than 3, or an index is outside 0 .. 2^32 - 1.
    """
    positions = np.arange(x.shape[1], dtype=np.int64)
    bits = np.empty(x.shape, np.int64)
    rows = max(1, _NUMBERS // max(1, x.shape[1]))
    for start in range(0, len(x), rows):
        part = slice(start, start + rows)
        u = uniforms(seed, index[part], positions, stream=Stream.BINARISATION)
        bits[part] = u < chance(x[part], levels)
    return bits
