"""Triton's interpreter, made quick enough for tests.

It replaces the functions of triton.language by others before it runs a kernel, and does so again
at every call of a function inside the kernel, which takes most of the time of a small one. Here
that is done once a launch.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType
from typing import Any

import numpy as np
import pytest


class _Nothing:
    """What there is to undo where nothing was replaced."""

    def restore(self) -> None:
        return


class _Replaced:
    """What was replaced for a launch."""

    def __init__(self, scope: Any, done: set[frozenset[int]]) -> None:
        self._scope, self._done = scope, done

    def restore(self) -> None:
        self._scope.restore()
        self._done.clear()


@contextmanager
def quick_interpreter() -> Iterator[None]:
    """Within it, kernels that are interpreted replace triton.language once a launch."""
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

    # NumPy warns where a GPU's arithmetic goes on with an infinity or NaN.
    with np.errstate(all="ignore"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreter, "_patch_lang", once)
        yield
