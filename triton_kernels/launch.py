"""What launchers share: checks of the tensors that a kernel reads, and the variants of kernels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ancestral.errors import InvalidInput

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""The types that our kernels compute with."""


def expect(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    dtypes: torch.dtype | tuple[torch.dtype, ...],
    device: torch.device,
    *,
    strided: bool = False,
) -> None:
    """Refuse a tensor that a kernel would misread.

    Args:
        name: of the argument, for the message.
        tensor: what was given.
        shape: what it must be.
        dtypes: one of which it must have.
        device: where it must be.
        strided: whether only its last axis must be contiguous.

    Raises:
        InvalidInput: it is another.
    """
    allowed = dtypes if isinstance(dtypes, tuple) else (dtypes,)
    if tuple(tensor.shape) != shape or tensor.dtype not in allowed or tensor.device != device:
        raise InvalidInput(
            f"{name}: expected {shape} of {' or '.join(map(_name, allowed))} on {device}, "
            f"got {tuple(tensor.shape)} of {_name(tensor.dtype)} on {tensor.device}"
        )
    last_is_contiguous = tensor.ndim == 0 or tensor.shape[-1] == 1 or tensor.stride(-1) == 1
    if not (tensor.is_contiguous() or (strided and last_is_contiguous)):
        raise InvalidInput(
            f"{name}: expected {'a contiguous last axis' if strided else 'contiguous memory'}, "
            f"got strides {tensor.stride()}: call .contiguous() first"
        )


def runs_kernels(device: torch.device) -> None:
    """Refuse tensors that no kernel can reach.

    Raises:
        InvalidInput: they are on the CPU, and Triton does not interpret.
    """
    import triton

    if device.type != "cuda" and not triton.knobs.runtime.interpret:
        raise InvalidInput(
            f"device: expected cuda, got {device}: Triton kernels run on a CUDA GPU, or on the CPU "
            f"in a process that was started with TRITON_INTERPRET=1, where they are interpreted"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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
