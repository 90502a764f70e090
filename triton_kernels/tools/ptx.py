"""A kernel as PTX, for launchers other than Triton.

Triton gives every kernel two more parameters than its function has: addresses of scratch memory,
which only some kernels read. They are removed from the other kernels, so that a launcher passes
only the parameters of the function.

References:
    NVIDIA, Parallel Thread Execution ISA, sections 5.1.6 (parameters) and 11.1 (.version).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.launch import Variant
from ancestral.triton_kernels.tools.compile import build

ISA: Mapping[int, int] = {80: 80, 90: 80, 100: 86, 120: 87}
"""The first PTX release, times 10, that supports a target; the driver may be that old."""

_ENTRY = re.compile(r"\.visible \.entry (\w+)\(\n(.*?)\n\)\n", re.DOTALL)
_PARAMETER = re.compile(r"\t\.param \.(\w+) .*?(\w+)")
_TYPES = {"i32": "u32", "i64": "u64", "fp32": "f32"}


@dataclass(frozen=True, slots=True)
class Ptx:
    """A compiled kernel and how it is launched.

    Attributes:
        text: PTX source.
        entry: name of the kernel in it.
        parameters: type of each parameter, in order; addresses are u64.
        threads: threads per program.
        shared: bytes of shared memory per program to request at launch.
    """

    text: str
    entry: str
    parameters: tuple[str, ...]
    threads: int
    shared: int


def ptx(variant: Variant, target: int) -> Ptx:
    """Compile a variant for GPUs of a compute capability, times 10.

    The text is the same on every machine.

    Raises:
        BackendUnavailable: Triton is not installed.
        InvalidInput: kernels are not compiled for the target, the kernel needs scratch memory, or
            Triton interprets in this process.
        RuntimeError: Triton's PTX has an unknown form.
    """
    expect_target(target)
    import triton

    with triton.knobs.compilation.scope():
        # Line information contains the path of the source file on this machine.
        triton.knobs.compilation.disable_line_info = True
        kernel = build(variant, target, ptx_version=ISA[target])
    text, entry, parameters = without_scratch(kernel.asm["ptx"], [*variant.arguments.values()])
    return Ptx(text, entry, parameters, 32 * variant.warps, kernel.metadata.shared)


def expect_target(target: int) -> None:
    """Check that kernels are compiled to PTX for a target.

    Raises:
        InvalidInput: `target` is not in `ISA`.
    """
    if target not in ISA:
        raise InvalidInput(
            f"target: expected one of {[*ISA]}, got {target}; use 80, which runs on every GPU from "
            f"sm_80 on"
        )


def without_scratch(text: str, types: list[str]) -> tuple[str, str, tuple[str, ...]]:
    """Remove the parameters that are not the kernel's own.

    Args:
        text: PTX source, as Triton writes it.
        types: Triton's type of each argument.

    Returns:
        the PTX source, the name of its kernel, and the PTX type of each parameter.

    Raises:
        InvalidInput: the kernel reads a parameter that would be removed.
        RuntimeError: the text has an unknown form.
    """
    heads = list(_ENTRY.finditer(text))
    if len(heads) != 1:
        raise RuntimeError(f"expected one kernel in the PTX, got {len(heads)}")
    head, body = heads[0], text[heads[0].end() :]
    lines = head[2].split(",\n")
    found = [_PARAMETER.fullmatch(line) for line in lines]
    own = ["u64" if each.startswith("*") else _TYPES[each] for each in types]
    got = [each[1] if each else "?" for each in found]
    if got[: len(own)] != own or set(got[len(own) :]) - {"u64"}:
        raise RuntimeError(f"{head[1]}: expected parameters {own}, then addresses, got {got}")
    for each in found[len(own) :]:
        if each and re.search(rf"\b{each[2]}\b", body):
            raise InvalidInput(
                f"{head[1]}: expected a kernel that needs no scratch memory, got one that reads "
                f"{each[2]}, which is not one of its {len(own)} arguments; launch it with Triton"
            )
    kept = ",\n".join(lines[: len(own)])
    return text[: head.start(2)] + kept + text[head.end(2) :], head[1], tuple(own)
