"""Calls that wait at the same time: their results are in order, and few items are taken ahead."""

import itertools
import threading
from collections.abc import Iterator

import pytest

from ancestral.bulk.ahead import CALLS, in_order


def test_calls_wait_together_and_results_are_in_order() -> None:
    together = threading.Barrier(CALLS, timeout=30)

    def call(item: int) -> int:
        together.wait()
        return item * item

    found = list(in_order(call, range(2 * CALLS)))
    assert found == [(item, item * item) for item in range(2 * CALLS)]


@pytest.mark.parametrize("n", [0, 1, CALLS, 10 * CALLS])
def test_few_items_are_taken_ahead(n: int) -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for item in range(n):
            taken += 1
            yield item

    done = 0
    for item, found in in_order(str, items()):
        assert (item, found) == (done, str(done))
        done += 1
        assert taken <= done - 1 + CALLS
    assert done == n


def test_an_error_is_in_the_place_of_its_result() -> None:
    found = in_order(lambda item: 1 // (item - 5), range(100))
    assert [item for item, _ in itertools.islice(found, 5)] == [0, 1, 2, 3, 4]
    with pytest.raises(ZeroDivisionError):
        next(found)
