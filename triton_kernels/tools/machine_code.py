"""What a compiled kernel takes of a GPU, read with the tools of Triton's wheel, and as a table."""

import re
import subprocess
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ancestral.triton_kernels.launch import Variant

_USAGE = re.compile(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)")
_INSTRUCTION = re.compile(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][\w.]*)")
"""An address, a predicate, and the name with its modifiers."""
_RESERVED = 1024
"""Bytes of shared memory that CUDA keeps of each program that has some, from sm_90 on."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A variant of a kernel, compiled for one target.

    Attributes:
        name: of the variant.
        target: compute capability, 10 times.
        registers: of a thread, 32 bits each.
        spilled: bytes of a thread in local memory and on its stack; 0 where registers suffice.
        shared: bytes of shared memory that a program asks for.
        instructions: how often each stands in the machine code, by its full name, LDG.E.128 say;
            empty where it was not read.
    """

    name: str
    target: int
    registers: int
    spilled: int
    shared: int
    instructions: Mapping[str, int]


def read(name: str, target: int, cubin: bytes, at_launch: int, *, disassembled: bool) -> Compiled:
    """What the kernel of a cubin takes, the functions that it calls included.

    Args:
        name: of the variant.
        target: that it was compiled for.
        cubin: what Triton's compiler gave.
        at_launch: bytes of shared memory that are asked for when the kernel is launched.
        disassembled: whether to read its instructions too, which takes half a second.

    Raises:
        RuntimeError: cuobjdump told nothing of it.
    """
    import triton

    told = _run([triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage"], cubin)
    found = [tuple(map(int, each)) for each in _USAGE.findall(told)]
    if not found:
        raise RuntimeError(f"cuobjdump: expected a line of REG, STACK, SHARED, LOCAL, got {told!r}")
    registers, stack, shared, local = map(max, zip(*found, strict=True))
    if b".nv.shared.reserved" in cubin and shared >= _RESERVED:
        shared -= _RESERVED
    counts = _instructions(cubin) if disassembled else {}
    return Compiled(name, target, registers, stack + local, shared + at_launch, counts)


def _instructions(cubin: bytes) -> dict[str, int]:
    import triton

    # Without the analysis of data flow, which takes longer and is not of use here.
    text = _run([triton.knobs.nvidia.nvdisasm.path, "--no-dataflow", "--print-code"], cubin)
    return dict(sorted(Counter(_INSTRUCTION.findall(text)).items()))


def _run(command: list[str], cubin: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kernel.cubin"
        path.write_bytes(cubin)
        done = subprocess.run([*command, str(path)], capture_output=True, text=True, check=True)
    return done.stdout


_NOTABLE = re.compile(r"[A-Z]*MMA\b|(LDG|STG|LDGSTS)\b.*\.128\b|UTMA(LDG|STG)\b")
"""Tensor cores; loads and stores of 16 bytes from and to global memory; copies of whole tiles."""

HEADER = """\
# Compiled kernels

Made by `make kernels-table` with Triton {version}. Every kernel in its default configurations,
compiled ahead of time for four kinds of GPU, without one; the numbers follow from the kernels and
from the compilers that this Triton brings.

A cell: registers of a thread / bytes that a thread spills / bytes of shared memory of a program,
with the bytes that a program may have there in brackets where those are fewer. On sm_90 nothing may
spill; the last column has the instructions for tensor cores, and the loads and stores of 16 bytes,
that stand in its machine code, and how often.

"""


def markdown(
    variants: Mapping[str, Sequence[Variant]],
    compiled: Mapping[str, Sequence[Compiled]],
    limits: Mapping[int, int],
) -> str:
    """A section an operator, a row a variant.

    Args:
        variants: of each operator.
        compiled: by the name of the variant, for every target of `limits`.
        limits: bytes of shared memory that a program may have, by target.
    """
    lines = []
    heads = ["variant", "warps", "stages", *(f"sm_{each}" for each in limits), "on sm_90"]
    for operator, some in variants.items():
        lines += [f"## {operator}", "", _row(heads), _row(["---"] * len(heads))]
        lines += [_row(_cells(each, compiled[each.name], limits)) for each in some]
        lines.append("")
    return "\n".join(lines)


def cell(compiled: Compiled, limit: int) -> str:
    """Registers, bytes spilled, bytes shared."""
    over = f" ({limit})" if compiled.shared > limit else ""
    return f"{compiled.registers} / {compiled.spilled} / {compiled.shared}{over}"


def notable(compiled: Compiled) -> str:
    """Instructions for tensor cores and wide loads, with their number."""
    some = {name: n for name, n in compiled.instructions.items() if _NOTABLE.match(name)}
    return ", ".join(f"{name} x{n}" for name, n in some.items())


def _cells(variant: Variant, some: Sequence[Compiled], limits: Mapping[int, int]) -> list[str]:
    numbers = [cell(each, limits[each.target]) for each in some]
    found = ", ".join(filter(None, map(notable, some)))
    return [variant.name, str(variant.warps), str(variant.stages), *numbers, found]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
