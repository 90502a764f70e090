"""Concurrent calls, and comparison of their results."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

import numpy as np
import pytest

BOTH = ("onnxruntime", pytest.param("torch", marks=pytest.mark.slow))
"""Backends of a test that is slow on torch."""
SECONDS = 60
"""Time after which a call that waits for another one has failed."""


@contextmanager
def restless() -> Iterator[None]:
    """Switch between threads far more often than by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def together(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Return the results of calls that start at the same time, each in its own thread."""
    at = Barrier(len(calls), timeout=SECONDS)

    def run(call: Callable[[], Any]) -> Any:
        at.wait()
        return call()

    with restless(), ThreadPoolExecutor(len(calls)) as pool:
        return [each.result(SECONDS) for each in [pool.submit(run, call) for call in calls]]


def assert_same(got: Any, expected: Any) -> None:
    """Check that results are equal to the bit, in dataclasses, lists and dictionaries too."""
    assert type(got) is type(expected)
    match expected:
        case np.ndarray():
            np.testing.assert_array_equal(got, expected)
        case list() | tuple():
            assert len(got) == len(expected)
            for one, other in zip(got, expected, strict=True):
                assert_same(one, other)
        case dict():
            assert_same(list(got.items()), list(expected.items()))
        case _ if hasattr(expected, "__dataclass_fields__"):
            for name in expected.__dataclass_fields__:
                assert_same(getattr(got, name), getattr(expected, name))
        case _:
            assert got == expected
