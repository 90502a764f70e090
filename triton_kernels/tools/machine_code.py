"""What a compiled kernel uses of a GPU, read with the tools in Triton's wheel, and as a table."""

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
"""Matches an address, an optional predicate, and the name with its modifiers."""
_RESERVED = 1024
"""Bytes of shared memory that CUDA reserves in each program that has some, from sm_90 on."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """A variant of a kernel, compiled for one target.

    Attributes:
        name: name of the variant.
        target: compute capability times 10.
        registers: registers per thread, 32 bits each.
        spilled: bytes per thread in local memory and on the stack; 0 if the registers suffice.
        shared: bytes of shared memory per program.
        instructions: count of each instruction in the machine code, by full name, for example
            LDG.E.128; empty if the machine code was not read.
    """

    name: str
    target: int
    registers: int
    spilled: int
    shared: int
    instructions: Mapping[str, int]


def read(name: str, target: int, cubin: bytes, at_launch: int, *, disassembled: bool) -> Compiled:
    """Return what the kernel in a cubin uses, including the functions that it calls.

    Args:
        name: name of the variant.
        target: target of the cubin.
        cubin: output of Triton's compiler.
        at_launch: bytes of shared memory that are requested when the kernel is launched.
        disassembled: whether to read the instructions too, which takes half a second.

    Raises:
        RuntimeError: cuobjdump's output does not contain the numbers.
    """
    import triton

    text = _run([triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage"], cubin)
    found = [tuple(map(int, each)) for each in _USAGE.findall(text)]
    if not found:
        raise RuntimeError(f"cuobjdump: expected a line of REG, STACK, SHARED, LOCAL, got {text!r}")
    registers, stack, shared, local = map(max, zip(*found, strict=True))
    if b".nv.shared.reserved" in cubin and shared >= _RESERVED:
        shared -= _RESERVED
    counts = _instructions(cubin) if disassembled else {}
    return Compiled(name, target, registers, stack + local, shared + at_launch, counts)


def _instructions(cubin: bytes) -> dict[str, int]:
    import triton

    # The data-flow analysis takes longer, and is not used here.
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

Made by `make kernels-table` with Triton {version}. It compiles every kernel in its default
configurations ahead of time for four kinds of GPU, without a GPU. The numbers depend only on the
kernels and on the compilers in this release of Triton.

A cell: registers per thread / bytes spilled per thread / bytes of shared memory per program, with
the bytes available to a program in brackets where those are fewer. On sm_90 nothing may spill; the
last column counts the tensor-core instructions, and the 16-byte loads and stores, in its machine
code.

"""


def markdown(
    variants: Mapping[str, Sequence[Variant]],
    compiled: Mapping[str, Sequence[Compiled]],
    limits: Mapping[int, int],
) -> str:
    """Return the tables, with one section per operator and one row per variant.

    Args:
        variants: variants of each operator.
        compiled: compiled kernels by the name of the variant, for every target of `limits`.
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
    """Return the text of a cell: registers, bytes spilled, bytes shared."""
    over = f" ({limit})" if compiled.shared > limit else ""
    return f"{compiled.registers} / {compiled.spilled} / {compiled.shared}{over}"


def notable(compiled: Compiled) -> str:
    """Return the tensor-core instructions and wide loads, with their counts."""
    some = {name: n for name, n in compiled.instructions.items() if _NOTABLE.match(name)}
    return ", ".join(f"{name} x{n}" for name, n in some.items())


def _cells(variant: Variant, some: Sequence[Compiled], limits: Mapping[int, int]) -> list[str]:
    numbers = [cell(each, limits[each.target]) for each in some]
    found = ", ".join(filter(None, map(notable, some)))
    return [variant.name, str(variant.warps), str(variant.stages), *numbers, found]


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
