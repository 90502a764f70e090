"""Rows of the GPU's results: what was measured, beside what, how far from the limit, how exact."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.rows import Row


@dataclass(frozen=True, slots=True)
class Target:
    """What a row is to reach, in words, and whether it does."""

    words: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRow(Row):
    """One quantity beside one baseline, on a GPU.

    Attributes:
        part: of the measurement; names the file.
        dtype: that it was computed in.
        rate: bytes or operations a second of ours; None where they were not counted.
        rate_unit: B/s or op/s.
        ceiling: what bounds it: "copy", or the dtype of a matrix product.
        share: the least time by that ceiling over the median.
        rehearsal: whether kernels were interpreted: then no number of the row is a result.
        targets: what is to be reached.
        details: further numbers by name, with their unit in it.
    """

    part: str
    dtype: str
    rate: float | None
    rate_unit: str | None
    ceiling: str | None
    share: float | None
    rehearsal: bool
    targets: tuple[Target, ...] = ()
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """What was measured, in a few words."""
        return f"{self.part}, {self.case}, {self.dtype}"

    @property
    def numbers(self) -> tuple[float, ...]:
        """All that have to be finite."""
        return (*self.rounds, *self.baseline_rounds, *self.details.values())
