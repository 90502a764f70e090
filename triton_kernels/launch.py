"""Shared code of the launchers: checks of the tensors that a kernel reads, and kernel variants."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ancestral.errors import InvalidInput

FLOATS = (torch.float32, torch.bfloat16, torch.float16)
"""The floating-point types that our kernels support."""


def expect(
    name: str,
    tensor: Tensor,
    shape: tuple[int, ...],
    dtypes: torch.dtype | tuple[torch.dtype, ...],
    device: torch.device,
    *,
    strided: bool = False,
) -> None:
    """Check a tensor that a kernel will read.

    Args:
        name: name of the argument, for the message.
        tensor: the argument.
        shape: expected shape.
        dtypes: allowed dtypes.
        device: expected device.
        strided: whether only the last axis has to be contiguous.

    Raises:
        InvalidInput: the shape, the dtype, the device or the strides differ.
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
            f"got strides {tensor.stride()}; call .contiguous() first"
        )


def runs_kernels(device: torch.device) -> None:
    """Check that kernels can run on a device.

    Raises:
        InvalidInput: it is not a CUDA GPU, and Triton does not interpret in this process.
    """
    import triton

    if device.type != "cuda" and not triton.knobs.runtime.interpret:
        raise InvalidInput(
            f"device: expected cuda, got {device}; move the tensors to a CUDA GPU, or start the "
            f"process with TRITON_INTERPRET=1 to interpret Triton kernels on the CPU"
        )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


TYPES: Mapping[torch.dtype, str] = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
}
"""Triton's name for each dtype."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One kernel with its constants fixed.

    Attributes:
        name: kernel, dtype and sizes.
        function: the @triton.jit function.
        arguments: Triton type of each run-time argument, in order: *fp32, i32, ...
        constants: value of each tl.constexpr argument.
        warps: warps per program.
        stages: stages of software pipelining.
        divisible: run-time integers that are multiples of 16; addresses always are.
        wanted: prefixes of instructions that the machine code must contain: LDG.E.128, ...;
            "HMMA|HGMMA" means either one.
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
        """The run-time arguments that are multiples of 16: all addresses, and `divisible`."""
        addresses = [name for name, type_ in self.arguments.items() if type_.startswith("*")]
        return *addresses, *self.divisible
