"""What compiled kernels take, as a table of Markdown."""

import re
from collections.abc import Mapping, Sequence

from ancestral.triton_kernels.tools.machine_code import Compiled
from ancestral.triton_kernels.variant import Variant

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
