"""Calls that wait for a file system: several at a time, with their results in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

CALLS = 32
"""Most calls that wait at the same time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    call: Callable[[Item], Result], items: Iterable[Item]
) -> Iterator[tuple[Item, Result]]:
    """Yield each item and what a call with it returns, in the order of the items.

    An object store answers a request in some hundredths of a second, however many there are. At
    most `CALLS` items are taken before their results are.

    Args:
        call: a function that may run in several threads.
        items: its arguments.

    Raises:
        Exception: what a call raised, in the place of its result.
    """
    waiting: deque[tuple[Item, Future[Result]]] = deque()
    with ThreadPoolExecutor(CALLS) as pool:
        for item in items:
            waiting.append((item, pool.submit(call, item)))
            if len(waiting) == CALLS:
                first, found = waiting.popleft()
                yield first, found.result()
        for first, found in waiting:
            yield first, found.result()
