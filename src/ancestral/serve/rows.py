"""The rows of one call: requests that one client waits for, read as they are drawn."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from ancestral.engine import Delta, Request


@dataclass(slots=True, eq=False)
class Row:
    """One request of a call.

    Attributes:
        request: the request.
        place: its position in the call.
        rows: the rows of the call.
        since: when it arrived, or when it drew last; in seconds of time.monotonic.
        begun: whether it has drawn.
    """

    request: Request
    place: int
    rows: "Rows"
    since: float = field(default_factory=time.monotonic)
    begun: bool = False


class Rows(AsyncIterator[tuple[int, Delta]]):
    """The rows of one call, read in its event loop as they are drawn.

    Iteration yields the position of a request in the call, and what it drew. It ends when all
    requests have ended, and raises what ended them early.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        """Make the rows of some requests, to be read in the running event loop."""
        self.rows = [Row(request, place, self) for place, request in enumerate(requests)]
        self.loop = asyncio.get_running_loop()
        self._found: asyncio.Queue[tuple[int, Delta] | Exception] = asyncio.Queue()
        self._left = len(self.rows)

    def put(self, found: tuple[int, Delta] | Exception) -> None:
        """Add what a row drew, or why all rows end. Called in the event loop."""
        self._found.put_nowait(found)

    async def __anext__(self) -> tuple[int, Delta]:
        if not self._left:
            raise StopAsyncIteration
        found = await self._found.get()
        if isinstance(found, Exception):
            self._left = 0
            raise found
        if found[1].ended is not None:
            self._left -= 1
        return found


def deliver(found: Sequence[tuple[Rows, tuple[int, Delta] | Exception]]) -> None:
    """Put what a round drew into the rows of its calls. Called in the event loop."""
    for rows, each in found:
        rows.put(each)
