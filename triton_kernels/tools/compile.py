"""Compile every kernel ahead of time for four kinds of GPU; no GPU is needed.

    python -m ancestral.triton_kernels.tools.compile                       everything, in minutes
    python -m ancestral.triton_kernels.tools.compile --target 90 --operator linear ring
    python -m ancestral.triton_kernels.tools.compile --table docs/kernels-compiled.md

Exit status 1: on sm_90 a kernel spills registers, uses more shared memory than a program may have,
or lacks an instruction that it should contain; files are still written. Exit status 2: an option is
invalid, Triton cannot compile here, or a file cannot be written.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from ancestral.errors import AncestralError, BackendUnavailable, InvalidInput
from ancestral.files.atomic import write_atomically
from ancestral.triton_kernels.launch import Variant
from ancestral.triton_kernels.operators import modules
from ancestral.triton_kernels.tools.machine_code import HEADER, Compiled, markdown, read

TARGETS: Mapping[int, int] = {80: 166_912, 90: 232_448, 100: 232_448, 120: 101_376}
"""Bytes of shared memory that a program may have, by compute capability times 10: A100, H100 and
H200, B200, RTX 50 (CUDA C++ Programming Guide, table of compute capabilities)."""

_PROGRAM = "python -m ancestral.triton_kernels.tools.compile"

CHECKED = 90
"""The target on which nothing may spill and whose machine code is read."""


def collect(kernels: Mapping[str, str]) -> dict[str, list[Variant]]:
    """Return the variants of each operator.

    Args:
        kernels: module with the operator's kernels, by operator name.

    Raises:
        BackendUnavailable: Triton is not installed.
        InvalidInput: Triton interprets in this process.
    """
    _triton()
    return {name: import_module(module).variants() for name, module in kernels.items()}


def compile_variant(variant: Variant, target: int) -> Compiled:
    """Compile a variant for a target, and return what its machine code uses of a GPU.

    Raises:
        BackendUnavailable: Triton is not installed.
        InvalidInput: Triton interprets in this process, or the variant does not fit its function.
    """
    kernel = build(variant, target)
    code, shared = kernel.kernel, kernel.metadata.shared
    return read(variant.name, target, code, shared, disassembled=target == CHECKED)


def build(variant: Variant, target: int, **others: object) -> Any:
    """Compile a variant: return Triton's kernel, with its code at every stage and launch metadata.

    Triton's cache is not used: every call compiles.

    Args:
        variant: kernel to compile.
        target: compute capability times 10.
        others: options of Triton's compiler, in addition to the variant's.

    Raises:
        BackendUnavailable: Triton is not installed.
        InvalidInput: Triton interprets in this process, or the variant does not fit its function.
    """
    triton = _triton()
    from triton.backends.compiler import GPUTarget

    options = {"num_warps": variant.warps, "num_stages": variant.stages, **others}
    with tempfile.TemporaryDirectory() as folder, triton.knobs.cache.scope():
        triton.knobs.cache.dir = folder
        source = triton.compiler.ASTSource(variant.function, *specialization(variant))
        try:
            return triton.compile(source, target=GPUTarget("cuda", target, 32), options=options)
        except Exception as error:
            error.add_note(f"while compiling {variant.name} for sm_{target}")
            raise


def specialization(
    variant: Variant,
) -> tuple[dict[str, str], dict[tuple[int], object], dict[tuple[int], list[list[object]]]]:
    """Return the signature, constants and attributes that a launch with such arguments has.

    Raises:
        InvalidInput: the variant does not name each parameter of its function exactly once.
    """
    names = variant.function.arg_names
    given = [*variant.arguments, *variant.constants]
    if sorted(given) != sorted(names) or not set(variant.divisible) <= set(variant.arguments):
        raise InvalidInput(
            f"{variant.name}: expected the arguments and constants {names}, each once, and "
            f"`divisible` among the arguments, got {given} and {list(variant.divisible)}"
        )
    signature = {name: variant.arguments.get(name, "constexpr") for name in names}
    constants = {(names.index(name),): value for name, value in variant.constants.items()}
    attributes: dict[tuple[int], list[list[object]]] = {
        (names.index(name),): [["tt.divisibility", 16]] for name in variant.aligned
    }
    return signature, constants, attributes


def problems(variant: Variant, compiled: Compiled) -> list[str]:
    """Return the problems of a compiled variant, one sentence each; only sm_90 is checked."""
    if compiled.target != CHECKED:
        return []
    found, where, most = [], f"{variant.name}, sm_{CHECKED}", TARGETS[CHECKED]
    if compiled.spilled:
        found.append(
            f"{where}: expected no spills, got {compiled.spilled} bytes per thread with "
            f"{compiled.registers} registers; use smaller blocks or more warps"
        )
    if compiled.shared > most:
        found.append(
            f"{where}: expected at most {most} bytes of shared memory, got {compiled.shared}; "
            f"use smaller blocks or fewer stages"
        )
    for wanted in variant.wanted:
        names = tuple(wanted.split("|"))
        if not any(each.startswith(names) for each in compiled.instructions):
            alike = tuple(each[:2] for each in names)
            others = [each for each in compiled.instructions if each.startswith(alike)]
            found.append(
                f"{where}: expected {' or '.join(names)} in the machine code, got "
                f"{', '.join(others) or 'nothing similar'}"
            )
    return found


def main(arguments: Sequence[str] | None = None, kernels: Mapping[str, str] | None = None) -> int:
    """Run the command and return its exit status."""
    kernels = modules("kernel") if kernels is None else kernels
    options = _options(arguments, [*kernels])
    try:
        return _run(options, {name: kernels[name] for name in kernels if name in options.operator})
    except (AncestralError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _run(options: argparse.Namespace, kernels: Mapping[str, str]) -> int:
    variants = collect(kernels)
    every = [variant for some in variants.values() for variant in some]
    compiled: dict[str, list[Compiled]] = {}
    found: list[str] = []
    for i, variant in enumerate(every):
        sys.stderr.write(f"{i + 1} of {len(every)}: {variant.name}\n")
        some = [compile_variant(variant, target) for target in options.target]
        found += [sentence for each in some for sentence in problems(variant, each)]
        compiled[variant.name] = some
    sections = markdown(variants, compiled, {each: TARGETS[each] for each in options.target})
    sys.stdout.write(sections)
    version = _triton().__version__
    if options.json:
        rows = [asdict(each) for some in compiled.values() for each in some]
        text = json.dumps({"triton": version, "compiled": rows}, indent=1)
        write_atomically(options.json, f"{text}\n".encode())
    if options.table:
        write_atomically(options.table, (HEADER.format(version=version) + sections).encode())
    sys.stderr.writelines(f"{sentence}\n" for sentence in found)
    return 1 if found else 0


def _options(arguments: Sequence[str] | None, operators: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=_PROGRAM, allow_abbrev=False)
    add = parser.add_argument
    add("--target", nargs="+", type=int, choices=[*TARGETS], default=[*TARGETS], metavar="N",
        help=f"compile for sm_N: {', '.join(map(str, TARGETS))}; default: all")  # fmt: skip
    add("--operator", nargs="+", choices=operators, default=operators, metavar="NAME",
        help=f"{', '.join(operators)}; default: all")  # fmt: skip
    add("--table", type=Path, metavar="FILE", help="write a Markdown table of everything")
    add("--json", type=Path, metavar="FILE", help="write numbers and instructions as JSON")
    options = parser.parse_args(arguments)
    options.target = sorted({*options.target})
    if options.table and (options.target, {*options.operator}) != ([*TARGETS], {*operators}):
        parser.error(
            "--table: expected every operator and target, got some; omit --target and --operator"
        )
    return options


def _triton() -> Any:
    """Import Triton, and check that it compiles in this process."""
    try:
        import triton
    except ImportError as error:
        raise BackendUnavailable(
            "compiling kernels needs the triton package (Linux): pip install 'ancestral[gpu]'"
        ) from error
    if triton.knobs.runtime.interpret:
        raise InvalidInput(
            "TRITON_INTERPRET is set, so that Triton interprets kernels and cannot compile them; "
            "unset TRITON_INTERPRET"
        )
    return triton


if __name__ == "__main__":
    sys.exit(main())
