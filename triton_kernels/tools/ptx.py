"""A kernel as PTX, for a launcher that knows nothing of Triton.

Triton gives every kernel two more parameters than its function has: addresses of memory that some
kernels need as scratch. One that needs none never reads them; here they are taken off, so that a
launcher passes what the function's signature names, and nothing else.

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
"""The first release of PTX, 10 times, that has all of a target: the driver may be that old."""

_ENTRY = re.compile(r"\.visible \.entry (\w+)\(\n(.*?)\n\)\n", re.DOTALL)
_PARAMETER = re.compile(r"\t\.param \.(\w+) .*?(\w+)")
_TYPES = {"i32": "u32", "i64": "u64", "fp32": "f32"}


@dataclass(frozen=True, slots=True)
class Ptx:
    """A compiled kernel and how it is launched.

    Attributes:
        text: the program.
        entry: name of the kernel in it.
        parameters: type of each, in order: u64 is an address.
        threads: of a program.
        shared: bytes of shared memory that a program asks for when it is launched.
    """

    text: str
    entry: str
    parameters: tuple[str, ...]
    threads: int
    shared: int


def ptx(variant: Variant, target: int) -> Ptx:
    """Compile a variant for GPUs of a compute capability, 10 times.

    The text is the same on every machine.

    Raises:
        BackendUnavailable: there is no Triton.
        InvalidInput: a target that kernels are not compiled for, a kernel that needs scratch
            memory, or Triton interprets in this process.
        RuntimeError: the text is not what Triton is known to write.
    """
    expect_target(target)
    import triton

    with triton.knobs.compilation.scope():
        # Lines name the source file, by its path on this machine.
        triton.knobs.compilation.disable_line_info = True
        kernel = build(variant, target, ptx_version=ISA[target])
    text, entry, parameters = without_scratch(kernel.asm["ptx"], [*variant.arguments.values()])
    return Ptx(text, entry, parameters, 32 * variant.warps, kernel.metadata.shared)


def expect_target(target: int) -> None:
    """Refuse a GPU that programs are not written for.

    Raises:
        InvalidInput: it is none of `ISA`.
    """
    if target not in ISA:
        raise InvalidInput(
            f"target: expected one of {[*ISA]}, got {target}: every GPU from sm_80 on takes code "
            f"for 80"
        )


def without_scratch(text: str, types: list[str]) -> tuple[str, str, tuple[str, ...]]:
    """Take the parameters off that are not among the kernel's own.

    Args:
        text: the program, as Triton wrote it.
        types: Triton's type of each argument.

    Returns:
        the program, the name of its kernel, and the PTX type of each parameter.

    Raises:
        InvalidInput: the kernel reads a parameter that would be taken off.
        RuntimeError: the text is not what Triton is known to write.
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
                f"{each[2]}, which is none of its {len(own)} arguments: only Triton can launch it"
            )
    kept = ",\n".join(lines[: len(own)])
    return text[: head.start(2)] + kept + text[head.end(2) :], head[1], tuple(own)
