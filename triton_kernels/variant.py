"""A kernel in one configuration, as it is compiled: what a launcher runs, named without a GPU."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch


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
        divisible: run-time arguments whose values are multiples of 16, as aligned pointers are.
        wanted: what must stand in the machine code, by the prefix of an instruction: LDG.E.128,
            HMMA (or HGMMA, either by "HMMA|HGMMA"), ...
    """

    name: str
    function: Any
    arguments: Mapping[str, str]
    constants: Mapping[str, object]
    warps: int
    stages: int
    divisible: tuple[str, ...] = ()
    wanted: tuple[str, ...] = field(default=())


TYPES: Mapping[torch.dtype, str] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}
"""Triton's names."""
