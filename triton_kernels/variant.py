"""A kernel in one configuration, as it is compiled: what a launcher runs, named without a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

TYPES: Mapping[torch.dtype, str] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}
"""Triton's names."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One kernel with its constants fixed.

    Attributes:
        name: kernel, dtype and sizes.
        function: of @triton.jit.
        arguments: each run-time argument's Triton type in order: *fp32, i32, ...
        constants: each tl.constexpr argument.
        warps: of a program.
        stages: of software pipelining.
        divisible: run-time numbers that are multiples of 16; addresses always are.
        wanted: what must stand in the machine code, by the prefix of an instruction: LDG.E.128,
            HMMA (or HGMMA, either by "HMMA|HGMMA"), ...
    """

    name: str
    function: Any
    arguments: Mapping[str, str]
    constants: Mapping[str, object]
    warps: int = 1
    stages: int = 3
    divisible: tuple[str, ...] = ()
    wanted: tuple[str, ...] = ()

    @property
    def aligned(self) -> tuple[str, ...]:
        """The run-time arguments that are multiples of 16: all addresses, and some numbers."""
        addresses = [name for name, type_ in self.arguments.items() if type_.startswith("*")]
        return *addresses, *self.divisible
