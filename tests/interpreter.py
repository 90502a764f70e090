"""A faster interpreter of Triton, for tests.

The interpreter replaces the functions of triton.language before it runs a kernel, and again at
every call of a function inside the kernel, which takes most of the time of a small kernel. Here it
replaces them once per launch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy as np
import pytest


class _Nothing:
    """Restores nothing, as nothing was replaced."""

    def restore(self) -> None:
        return


class _Replaced:
    """Restores the functions that were replaced for a launch."""

    def __init__(self, scope: Any, done: set[frozenset[int]]) -> None:
        self._scope, self._done = scope, done

    def restore(self) -> None:
        self._scope.restore()
        self._done.clear()


@contextmanager
def quick_interpreter() -> Iterator[None]:
    """Let interpreted kernels replace triton.language once per launch."""
    import triton.language as tl
    from triton.runtime import interpreter

    replace: Callable[[FunctionType], Any] = interpreter._patch_lang
    done: set[frozenset[int]] = set()

    def once(function: FunctionType) -> _Nothing | _Replaced:
        seen = frozenset(
            id(value) for value in function.__globals__.values() if value is tl or value is tl.core
        )
        if seen in done:
            return _Nothing()
        done.add(seen)
        return _Replaced(replace(function), done)

    # NumPy warns about infinities and NaN; a GPU continues with them.
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang", once)
        yield
