"""What speculation did: calls, how many values they yielded, and why it was left off."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Speculated:
    """Calls of the step graph that drew some rows.

    Attributes:
        proposer: name of the proposer; None if the rows were drawn step by step.
        remark: why they were, or what was wrong with a proposer; None if nothing was.
        positions: number of positions that were drawn, prefilled ones not counted.
        calls: number of calls of the step graph.
        seconds: wall time of these calls and of the proposals.
        blocks: number of calls by size of the block.
        kept: number of values that calls of each size yielded.
    """

    proposer: str | None = None
    remark: str | None = None
    positions: int = 0
    calls: int = 0
    seconds: float = 0.0
    blocks: Counter[int] = field(default_factory=Counter)
    kept: Counter[int] = field(default_factory=Counter)

    def add(self, block: int, kept: int, calls: int = 1) -> None:
        """Count calls of a block of some size, and the values that each of them yielded."""
        self.calls += calls
        self.positions += calls * kept
        self.blocks[block] += calls
        self.kept[block] += calls * kept

    @property
    def acceptance(self) -> dict[int, float]:
        """Share of the proposals that were right, by size of the block, which has one fewer."""
        return {
            block: (self.kept[block] - calls) / (calls * (block - 1))
            for block, calls in sorted(self.blocks.items())
            if block > 1
        }

    def to_json(self) -> dict[str, Any]:
        """Return all numbers as plain values."""
        return {
            "proposer": self.proposer,
            "remark": self.remark,
            "positions": self.positions,
            "calls": self.calls,
            "seconds": self.seconds,
            "blocks": {str(block): count for block, count in sorted(self.blocks.items())},
            "acceptance": {str(block): share for block, share in self.acceptance.items()},
        }


def joined(reports: Sequence[Speculated]) -> Speculated:
    """Return the sum of the reports of several batches, with the first proposer and remark."""
    proposers = (each.proposer for each in reports if each.proposer)
    remarks = (each.remark for each in reports if each.remark)
    whole = Speculated(next(proposers, None), next(remarks, None))
    for each in reports:
        whole.positions += each.positions
        whole.calls += each.calls
        whole.seconds += each.seconds
        whole.blocks.update(each.blocks)
        whole.kept.update(each.kept)
    return whole
