"""The list of our operators, and what is gathered from their folders.

    __init__.py   the maths, the reference in plain PyTorch, the registration with torch.library
    kernel.py     `overrides`: what runs instead of what; `variants`: what is compiled ahead of time
    onnx.py       `translations`: the ONNX nodes of each form of a graph

Not every operator has a kernel, and not every one has ONNX forms of its own. A new operator is a
folder and a name in this list.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from ancestral.triton_kernels.append import append, append_reference
from ancestral.triton_kernels.cached_attention import cached_attention, cached_attention_reference
from ancestral.triton_kernels.mass_threshold import mass_threshold, mass_threshold_reference
from ancestral.triton_kernels.overridable import Kernels, Seeds, Settings, Table
from ancestral.triton_kernels.residual_norm import residual_norm, residual_norm_reference

OPERATORS = (
    "append",
    "cached_attention",
    "embed",
    "linear",
    "masked_attention",
    "mass_threshold",
    "recurrence",
    "residual_norm",
    "ring",
    "sample_token",
)


def modules(part: Literal["kernel", "onnx"]) -> dict[str, str]:
    """The modules with one part of an operator, by the names of those that have it."""
    every = {name: f"{__package__}.{name}.{part}" for name in OPERATORS}
    return {name: module for name, module in every.items() if find_spec(module)}


def table(seeds: Seeds | None = None, *, batch_invariant: bool = False) -> Table:
    """What runs instead of what where our kernels run, for `Kernels`.

    Operators that give a cache back write it in place: whoever uses the table owns what it passes
    in.

    Args:
        seeds: as in `Settings`.
        batch_invariant: as in `Settings`.
    """
    settings = Settings(seeds, batch_invariant)
    found: dict[Callable[..., Any], Callable[..., Any]] = {}
    for module in modules("kernel").values():
        found |= import_module(module).overrides(settings)
    return found


def in_place() -> Kernels:
    """Within it operators are their references, and `cached_attention` writes into its caches.

    For a loop that owns its caches.

    The bits are the references'. What is saved is the copy of each cache in each step, and what
    torch.library does around an operator, 50 microseconds a call. The program that runs within must
    not read the caches that it passed in.
    """
    return Kernels(
        {
            append._opoverload: append_reference,
            cached_attention._opoverload: partial(cached_attention_reference, in_place=True),
            mass_threshold._opoverload: mass_threshold_reference,
            residual_norm._opoverload: residual_norm_reference,
        }
    )
