"""Our operators without our kernels, on any device."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_ASKED = ContextVar("references", default=False)
"""Each thread has its own value: PyTorch's `set_kernel_enabled` would change that of all."""


@contextmanager
def references() -> Iterator[None]:
    """Within it, in this thread, operators that models call run as their references on CUDA too."""
    token = _ASKED.set(True)
    try:
        yield
    finally:
        _ASKED.reset(token)


def unless_references(reference: Callable[P, R]) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A kernel that gives way to the reference of its operator within `references`."""

    def given(kernel: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(kernel)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            return (reference if _ASKED.get() else kernel)(*args, **kwargs)

        return run

    return given
