"""Arrays as nested lists: the same as numpy's and json's in one piece, in pieces."""

import json
import sys
import threading
import time
from typing import Any

import numpy as np
import pytest

from ancestral.serve.api import arrays

SHAPES = ((0,), (0, 3), (3, 0), (1,), (5, 7), (4096,), (4097,), (9000, 3), (2, 5000), (3, 2, 4500))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", ["int", "float", "bool"])
def test_lists(shape: tuple[int, ...], kind: str) -> None:
    numbers = np.random.default_rng(0).normal(0, 100, shape)
    values = numbers > 0 if kind == "bool" else numbers.astype(kind)
    text = arrays.encoded({"x": values, "k": 1}, "lists")
    assert json.loads(text) == {"x": values.tolist(), "k": 1}
    if kind != "bool":
        again = arrays.array("x", json.loads(text)["x"])
        # Lists do not have the axes after an empty one.
        assert again.shape == np.array(values.tolist()).shape
        assert np.array_equal(again.ravel(), values.ravel())


def test_plain_values() -> None:
    fields: dict[str, Any] = {
        "a": np.float64("-inf"),
        "b": [1, 2.5, "ü\u2028", None, True],
        "c": {"d": np.array([np.nan, 1.0, np.inf])},
        "e": float("nan"),
        "f": np.int64(3),
    }
    text = arrays.encoded(fields, "lists")
    assert b"\n" not in text
    assert json.loads(text) == {
        "a": None,
        "b": fields["b"],
        "c": {"d": [None, 1.0, None]},
        "e": None,
        "f": 3,
    }


def longest_wait(work: threading.Thread) -> float:
    """Return the longest time for which this thread could not run, in seconds."""
    longest, before = 0.0, time.monotonic()
    work.start()
    while work.is_alive():
        time.sleep(0)
        now = time.monotonic()
        longest, before = max(longest, now - before), now
    return longest


def test_other_threads_go_on() -> None:
    """Encoding and reading a large array never keep another thread waiting for long."""
    values = np.random.default_rng(0).normal(size=(1000, 1000))
    lists = values.tolist()

    def plain() -> None:
        json.loads(json.dumps(lists))

    def ours() -> None:
        arrays.encoded({"x": values}, "lists")
        arrays.array("x", lists)

    assert sys.getswitchinterval() <= 0.005
    waits = {each.__name__: longest_wait(threading.Thread(target=each)) for each in (plain, ours)}
    assert waits["ours"] < 0.25 * waits["plain"], waits
