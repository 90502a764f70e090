"""The list of our operators, and functions that collect the parts in their folders.

    __init__.py   the maths, the reference in plain PyTorch, the registration with torch.library
    kernel.py     `overrides`: the functions that kernels replace; `variants`: the kernels that are
                  compiled ahead of time
    onnx.py       `translations`: the ONNX nodes of each form of a graph

Some operators have no kernel, and some have no ONNX forms. To add an operator, add its folder and
its name in this list.
"""

from collections.abc import Callable
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal

from ancestral.triton_kernels.append import append, append_reference
from ancestral.triton_kernels.cached_attention import cached_attention, cached_attention_reference
from ancestral.triton_kernels.filter_threshold import filter_threshold, filter_threshold_reference
from ancestral.triton_kernels.first_reached import first_reached, first_reached_reference
from ancestral.triton_kernels.occurrences import occurrences, occurrences_reference
from ancestral.triton_kernels.overridable import Kernels, Seeds, Settings, Table
from ancestral.triton_kernels.residual_norm import residual_norm, residual_norm_reference
from ancestral.triton_kernels.top_ids import top_ids, top_ids_reference

OPERATORS = (
    "append",
    "cached_attention",
    "dequantise",
    "embed",
    "filter_threshold",
    "first_reached",
    "linear",
    "masked_attention",
    "occurrences",
    "quantised_linear",
    "quantised_rows",
    "recurrence",
    "residual_norm",
    "ring",
    "sample_token",
    "top_ids",
)


def modules(part: Literal["kernel", "onnx"]) -> dict[str, str]:
    """Return the modules of one part, by operator name, for the operators that have the part."""
    every = {name: f"{__package__}.{name}.{part}" for name in OPERATORS}
    return {name: module for name, module in every.items() if find_spec(module)}


def table(seeds: Seeds | None = None, *, batch_invariant: bool = False) -> Table:
    """Return the functions that our kernels replace, as a table for `Kernels`.

    Operators that return a cache write it in place, so the caller must own the caches that it
    passes.

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
    """Return a mode that runs the references, writing into caches and other large buffers.

    It is for a loop that owns its caches. The results have the same bits as the references'. The
    mode avoids copying the caches in each step, and torch.library's overhead of 50 microseconds per
    call. A program that runs in it must not read the caches that it passed in.
    """
    return Kernels(
        {
            append._opoverload: partial(append_reference, in_place=True),
            cached_attention._opoverload: partial(cached_attention_reference, in_place=True),
            filter_threshold._opoverload: filter_threshold_reference,
            first_reached._opoverload: first_reached_reference,
            occurrences._opoverload: occurrences_reference,
            residual_norm._opoverload: residual_norm_reference,
            top_ids._opoverload: top_ids_reference,
        }
    )
