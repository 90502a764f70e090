"""The noise of a batch: which samples it draws."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ancestral.philox import Stream, uniforms


@dataclass(frozen=True, slots=True)
class Noise:
    """The uniforms of consecutive samples: sample i has those of (seed, first_index + i).

    Attributes:
        seed: 0 .. 2^64 - 1.
        first_index: sample index of the first row.
        stream: what they are for.
    """

    seed: int
    first_index: int
    stream: Stream = Stream.X

    def uniforms(self, rows: int, positions: int) -> NDArray[np.float32]:
        """Uniforms [rows, positions].

        Raises:
            InvalidInput: the seed or an index is out of range.
        """
        at = np.arange(positions, dtype=np.int64)
        return uniforms(self.seed, self.indices(rows), at, stream=self.stream)

    def check(self, rows: int) -> None:
        """Refuse, before anything is drawn, what so many rows could not be drawn with.

        Raises:
            InvalidInput: the seed or an index is out of range.
        """
        self.after(rows - 1).uniforms(1, 1)

    def after(self, rows: int) -> "Noise":
        """The noise of what comes that many samples later."""
        return replace(self, first_index=self.first_index + rows)

    def indices(self, rows: int) -> NDArray[np.int64]:
        """The sample index of each row."""
        return np.arange(self.first_index, self.first_index + rows, dtype=np.int64)
