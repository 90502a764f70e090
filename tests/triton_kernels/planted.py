"""Kernels with the faults that a compile must report."""

from dataclasses import replace

import torch
import triton
import triton.language as tl

from ancestral.triton_kernels.launch import Variant


@triton.jit
def _normalise(x, y, n, block: tl.constexpr):
    at = tl.arange(0, block)
    a = tl.load(x + at, mask=at < n, other=0.0)
    tl.store(y + at, a / tl.sum(a * a, axis=0), mask=at < n)


def variants() -> list[Variant]:
    """Return variants: a sound one, one that spills, one that lacks tensor-core instructions."""
    return [
        _variant("sound", 1024, 4, ("LDG.E.128",)),
        _variant("spilling", 8192, 1, ()),
        _variant("lacking", 1024, 4, ("LDG.E.128", "HMMA|HGMMA")),
    ]


def launch_for_rows(b: int) -> None:
    """Launch a kernel that compiles again for 1 row and for 16."""
    x = torch.empty(b, 1024)
    _normalise[(1,)](x, torch.empty_like(x), b, block=1024)


def misnamed() -> list[Variant]:
    """Return variants that differ from what a launch compiles."""
    sound = variants()[0]
    swapped = {"y": "*fp32", "x": "*fp32", "n": "i32"}
    return [
        replace(sound, name="order", arguments=swapped),
        replace(sound, name="missing", constants={}),
        replace(sound, name="unknown", constants={"block": 1024, "other": 1}),
        replace(
            sound,
            name="constant as argument",
            arguments=sound.arguments | {"block": "i32"},
            constants={},
        ),
        replace(
            sound,
            name="argument as constant",
            arguments={"x": "*fp32", "y": "*fp32"},
            constants={"n": 1000, "block": 1024},
            divisible=(),
        ),
        replace(sound, name="divisible constant", divisible=("block",)),
        replace(sound, name="type", arguments=sound.arguments | {"n": "fp64"}, divisible=()),
    ]


def _variant(name: str, block: int, warps: int, wanted: tuple[str, ...]) -> Variant:
    return Variant(
        name=f"planted {name}",
        function=_normalise,
        arguments={"x": "*fp32", "y": "*fp32", "n": "i32"},
        constants={"block": block},
        warps=warps,
        stages=3,
        divisible=("n",),
        wanted=wanted,
    )
