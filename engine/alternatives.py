"""The most probable values at each position that a row drew, chosen inside the step graph."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from ancestral.errors import InvalidInput
from ancestral.scalars import whole
from ancestral.step_tensors import TOP


@dataclass(frozen=True, slots=True)
class Alternatives:
    """The k most probable values at each drawn position, given the values before it.

    Of equally probable values the lowest id comes first.

    Attributes:
        ids: most probable values under the model, the most probable first, [m, k].
        log_p: their log-probabilities under the model itself, in nats, [m, k].
        filtered_ids: most probable values of the distribution that was drawn from, with bias,
            penalties, temperature and filters, [m, k]. If fewer than k values are left, the others
            have log_q -inf.
        log_q: their log-probabilities under that distribution, in nats, [m, k].
    """

    ids: Int64[np.ndarray, "*m k"]
    log_p: Float32[np.ndarray, "*m k"]
    filtered_ids: Int64[np.ndarray, "*m k"]
    log_q: Float32[np.ndarray, "*m k"]

    def part(self, *index: int | slice) -> "Alternatives":
        """Return a copy of those of some rows and positions."""
        parts = (self.ids, self.log_p, self.filtered_ids, self.log_q)
        return Alternatives(*(each[index].copy() for each in parts))

    def without(self, count: int) -> "Alternatives":
        """Return a copy in which the first positions of each row, [b, t, k], have none."""
        found = self.part(slice(None))
        found.ids[:, :count] = found.filtered_ids[:, :count] = -1
        found.log_p[:, :count] = found.log_q[:, :count] = 0
        return found


def checked(k: object, levels: int | None = None) -> int:
    """Return the number of most probable values; 0 for none.

    Args:
        k: the user's number.
        levels: number of the model's values, if it is known.

    Raises:
        InvalidInput: it is not an integer in 0 .. 20, or the model has fewer values.
    """
    count = whole("logprobs", k, 0, TOP)
    if levels is not None and count > levels:
        raise InvalidInput(f"logprobs: expected at most {levels}, the model's values, got {count}")
    return count
