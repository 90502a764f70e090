"""Refuse what a loop must not leave: NaN, and values that are not levels of the data."""

import numpy as np
from numpy.typing import NDArray

from ancestral.errors import BundleError, NotADistribution

_REPORTED = 8
"""Samples that an error lists at most."""
_WEIGHTS = "the weights may contain NaN, or activations may overflow in this dtype"
_BANS = "use a bias that bans fewer values"


def check(
    log_p: NDArray[np.float32], first_index: int, log_q: NDArray[np.float32] | None = None
) -> None:
    """Check that no log-probability is NaN.

    Args:
        log_p: log-probabilities of consecutive samples, in nats, [b, t].
        first_index: sample index of the first.
        log_q: log-probabilities under the distributions drawn from, in nats, [b, t].

    Raises:
        NotADistribution: a log-probability is NaN; the message lists samples and positions.
    """
    _check(log_p, first_index, "logits are NaN or infinite", _WEIGHTS)
    if log_q is not None:
        _check(log_q, first_index, "all values that the model allows are banned", _BANS)


def _check(nats: NDArray[np.float32], first_index: int, what: str, advice: str) -> None:
    rows, positions = np.nonzero(np.isnan(nats))
    if len(rows):
        found = dict(zip(reversed(rows.tolist()), reversed(positions.tolist()), strict=True))
        reported = [
            f"sample {first_index + row}: {what} at position {found[row]}" for row in sorted(found)
        ]
        more = ", ..." if len(reported) > _REPORTED else ""
        raise NotADistribution(f"{', '.join(reported[:_REPORTED])}{more}; {advice}")


def check_values(values: NDArray[np.int64], levels: int) -> None:
    """Check that drawn values are levels; pictures and tokenizers look them up.

    Args:
        values: drawn values, of any shape.
        levels: number of levels of the data.

    Raises:
        BundleError: a value is outside 0 .. levels - 1.
    """
    if values.size and not (values.min() >= 0 and values.max() < levels):
        wrong = values[(values < 0) | (values >= levels)][0]
        raise BundleError(
            f"bundle: expected drawn values in 0 .. {levels - 1}, got {wrong}, so a graph does not "
            f"match the manifest; export the bundle again or download it again"
        )
