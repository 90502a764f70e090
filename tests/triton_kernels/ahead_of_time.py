"""A program that compiles with Triton, and prints what the tests need as JSON.

python -m tests.triton_kernels.ahead_of_time
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime.jit import MockTensor

from ancestral.errors import InvalidInput
from ancestral.triton_kernels.launch import TYPES, Variant
from ancestral.triton_kernels.operators import modules
from ancestral.triton_kernels.tools.compile import (
    collect,
    compile_variant,
    problems,
    specialization,
)
from tests.triton_kernels.launches import LAUNCHES
from tests.triton_kernels.planted import launch_for_rows, misnamed
from tests.triton_kernels.planted import variants as planted_variants

Launches = Mapping[str, Callable[[int], object]]
"""Launches by name, as functions of the number of rows."""
Compilation = dict[str, str]
"""Type, constant and divisibility of each parameter by its name; also warps and stages."""

OTHER = 100
"""The target other than sm_90."""
DTYPES = {name: dtype for dtype, name in TYPES.items()} | {
    "fp64": torch.float64, "i1": torch.bool, "i8": torch.int8, "u8": torch.uint8,
    "i32": torch.int32, "i64": torch.int64,
}  # fmt: skip


class Unaligned(MockTensor):
    """A tensor whose address is not a multiple of 16 bytes."""

    @staticmethod
    def data_ptr() -> int:
        return 8


def value(type_: str, divisible: bool) -> object:
    """Return an argument of one of Triton's types that a launcher could pass."""
    if type_.startswith("*"):
        return (MockTensor if divisible else Unaligned)(DTYPES[type_[1:]])
    if type_.startswith("fp"):
        return 0.5
    if type_ == "i1":
        return True
    return (2**40 if type_ == "i64" else 32) + (0 if divisible else 3)


def compilation(
    signature: Mapping[str, str],
    constants: Mapping[tuple[int], object],
    attributes: Mapping[tuple[int], object],
    warps: int,
    stages: int,
) -> Compilation:
    """Return what determines the machine code, by the name of each parameter."""
    parameters = {
        name: f"{type_}, {constants.get((i,))!r}, {attributes.get((i,)) or 'not divisible'}"
        for i, (name, type_) in enumerate(signature.items())
    }
    return parameters | {"warps": str(warps), "stages": str(stages)}


def ahead(variant: Variant) -> Compilation:
    """Return the compilation of a variant ahead of time."""
    return compilation(*specialization(variant), variant.warps, variant.stages)


@contextmanager
def recorded() -> Iterator[list[tuple[str, Compilation]]]:
    """Record what launches would compile, with the name of the kernel; nothing runs."""
    seen: list[tuple[str, Compilation]] = []

    def hook(**details: Any) -> bool:
        of, kernel = details["compile"], details["fn"].jit_function
        sizes = (of["num_warps"], of["num_stages"])
        found = compilation(of["signature"], of["constants"], of["configs"][0], *sizes)
        seen.append((full_name(kernel), found))
        return True

    with triton.knobs.runtime.scope():
        triton.knobs.runtime.jit_cache_hook = hook
        # This makes launchers accept CPU tensors; kernels that are already defined still compile.
        triton.knobs.runtime.interpret = True
        yield seen


def full_name(kernel: Any) -> str:
    return f"{kernel.fn.__module__}.{kernel.fn.__qualname__}"


def launched(variant: Variant) -> Compilation:
    """Return what is compiled at a launch with arguments of a variant's types."""
    arguments = {
        name: value(type_, name in variant.aligned) for name, type_ in variant.arguments.items()
    }
    with recorded() as seen:
        variant.function.run(
            **arguments, **variant.constants, grid=(1,), warmup=True,
            num_warps=variant.warps, num_stages=variant.stages,
        )  # fmt: skip
    return seen[0][1]


def differences(theirs: Compilation, ours: Compilation) -> dict[str, tuple[str, str]]:
    """Return what differs between a launch and a variant."""
    return {
        name: (theirs[name], ours[name]) for name in theirs if theirs[name] != ours.get(name, "")
    }


def row_dependent(launches: Launches) -> dict[str, list[object]]:
    """Return launches whose code depends on the number of rows, with the differences."""
    found: dict[str, list[object]] = {}
    for name, launch in launches.items():
        by_rows = []
        for rows in (1, 3, 16):
            with recorded() as seen:
                launch(rows)
            by_rows.append(seen)
        for others in by_rows[1:]:
            pairs = zip(by_rows[0], others, strict=True)
            found[name] = found.get(name, []) + [
                difference
                for (_, one), (_, other) in pairs
                if (difference := differences(one, other))
            ]
    return {name: some for name, some in found.items() if some}


def unknown(launches: Launches, variants: Sequence[Variant]) -> dict[str, object]:
    """Return launches without a variant, with the differences from the most similar one."""
    found: dict[str, object] = {}
    for name, launch in launches.items():
        with recorded() as seen:
            launch(3)
        for kernel, theirs in seen:
            same = [each for each in variants if full_name(each.function) == kernel]
            least = min(
                (differences(theirs, ahead(each)) for each in same), key=len, default={"": ""}
            )
            if least:
                found[f"{name}: {kernel}"] = least
    return found


def faults(variant: Variant) -> list[str]:
    """Return faults in a variant's parameters, and differences from its compilation at a launch."""
    try:
        specialization(variant)
    except InvalidInput as error:
        return [str(error)]
    found = []
    parameters = variant.function.params
    if list(variant.arguments) != [p.name for p in parameters if p.name in variant.arguments]:
        found.append(f"{variant.name}: arguments {list(variant.arguments)} out of order")
    for p in parameters:
        # A launch also makes a constant of an argument that is None or 1.
        fixed = variant.constants.get(p.name, 0) in (None, 1)
        if p.is_constexpr != (p.name in variant.constants) and not fixed:
            found.append(f"{variant.name}: {p.name} is not where its function has it")
    if not found and (different := differences(launched(variant), ahead(variant))):
        found.append(f"{variant.name}: at a launch, and compiled ahead: {different}")
    return found


def main() -> None:
    target = GPUTarget("cuda", 90, 32)
    triton.runtime.driver.set_active(
        SimpleNamespace(
            get_current_device=lambda: 0,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: target,
        )
    )
    variants = collect(modules("kernel"))
    every = [each for some in variants.values() for each in some]
    first = [some[0] for some in variants.values()]
    # The slow test of the whole table compiles every variant for every target.
    chosen = [*((each, 90) for each in first), (first[0], OTHER)]
    compiled = [(each, compile_variant(each, target)) for each, target in chosen]
    planted = {"planted": launch_for_rows}
    answer = {
        "triton": triton.__version__,
        "names": [each.name for each in every],
        "functions": [[each.function.__module__, each.function.__name__] for each in every],
        "faults": [fault for each in every for fault in faults(each)],
        "misnamed": {each.name: faults(each) for each in misnamed()},
        "row dependent": row_dependent(LAUNCHES),
        "unknown": unknown(LAUNCHES, every),
        "planted": [row_dependent(planted), unknown(planted, planted_variants())],
        "problems": [sentence for each in compiled for sentence in problems(*each)],
        "compiled": [asdict(each) for _, each in compiled],
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
