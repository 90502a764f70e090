"""The least time that work can take on a GPU, by what was measured of that GPU."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

COPY = "copy"
"""Bandwidth of a copy on the device, bytes read plus bytes written, in bytes a second."""
Ceilings = Mapping[str, float]
"""COPY, and for each dtype by name the operations a second of a large matrix product."""


@dataclass(frozen=True, slots=True)
class Work:
    """What has to be done, at the least.

    Attributes:
        bytes: of device memory, each input read once and each output written once.
        operations: additions and multiplications of floating-point numbers.
        dtype: that they are done in.
    """

    bytes: float
    operations: float
    dtype: torch.dtype

    def floor_ms(self, ceilings: Ceilings) -> tuple[str, float] | None:
        """What bounds the time and the milliseconds that it leaves; None where it is unknown.

        >>> Work(8e6, 1e9, torch.float32).floor_ms({"copy": 4e12, "float32": 5e13})
        ('float32', 0.02)
        """
        arithmetic = name_of(self.dtype)
        if COPY not in ceilings or arithmetic not in ceilings:
            return None
        moved = self.bytes / ceilings[COPY] * 1e3
        computed = self.operations / ceilings[arithmetic] * 1e3
        return (COPY, moved) if moved >= computed else (arithmetic, computed)

    def counted(self, ceiling: str | None) -> tuple[float, str]:
        """Bytes or operations, whichever that ceiling is of; where it is unknown, what there is."""
        bytes_count = self.bytes > 0 if ceiling is None else ceiling == COPY
        return (self.bytes, "B/s") if bytes_count else (self.operations, "op/s")


def name_of(dtype: torch.dtype) -> str:
    """float32, bfloat16, ..."""
    return str(dtype).removeprefix("torch.")
