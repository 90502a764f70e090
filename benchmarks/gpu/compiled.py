"""Baselines that torch.compile builds: how, and how long that takes."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch

from benchmarks.gpu.part import Bench

T = TypeVar("T")


def compiled(function: Callable[..., T], bench: Bench, **settings: Any) -> Callable[..., T]:
    """The function by torch.compile at fixed sizes; in a rehearsal traced, and run as it is.

    What was compiled before is forgotten, so that no limit of recompilations is reached.
    """
    torch.compiler.reset()
    if bench.rehearsal:
        settings = {"backend": "eager"}
    made: Callable[..., T] = torch.compile(function, fullgraph=True, dynamic=False, **settings)
    return made


def seconds(action: Callable[[], object]) -> float:
    """Of an action, and of what it left to the device."""
    begin = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - begin
