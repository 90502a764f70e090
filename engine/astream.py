"""`Engine.astream`: a stream of requests for asyncio. Steps run in a worker thread."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import TypeVar

from ancestral.arrays import shown
from ancestral.engine import budget
from ancestral.engine.desk import Control, Delta, Desk
from ancestral.engine.request import Request
from ancestral.engine.runner import Runner
from ancestral.engine.speculation import Speculate
from ancestral.engine.stream import desk_of
from ancestral.errors import InvalidInput

T = TypeVar("T")
_END = object()


class AsyncRequestStream(Control, AsyncIterator[Delta]):
    """The deltas of requests, as they come. Made by `Engine.astream`.

    Requests are read when slots are free. Its memory is released at its end, by `aclose`, by the
    end of an `async with` block, and when the event loop closes it.
    """

    def __init__(self, desk: Desk, requests: AsyncIterator[Request]) -> None:
        """Read requests into the slots of a desk."""
        super().__init__(desk)
        self._deltas = _deltas(desk, requests)

    async def __anext__(self) -> Delta:
        return await anext(self._deltas)

    async def __aenter__(self) -> "AsyncRequestStream":
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End the stream; requests that have not ended are dropped."""
        await self._deltas.aclose()


def astream(
    runner: Runner,
    requests: AsyncIterable[Request] | Iterable[Request],
    slots: int | None = None,
    *,
    text: bool = True,
    prefix_memory: int = budget.PREFIXES,
    speculate: Speculate = None,
) -> AsyncRequestStream:
    """Draw requests in slots as `stream` does, without blocking the event loop.

    Steps run in a worker thread. While an asynchronous source has no request ready, the rows that
    have begun go on; so requests may arrive at any time.

    Args:
        runner: the engine.
        requests: requests; an asynchronous generator, for example one that reads a queue, or an
            iterable, which is read in the event loop.
        slots: as in `stream`.
        text: as in `stream`.
        prefix_memory: as in `stream`.
        speculate: as in `stream`.

    Returns:
        An asynchronous iterator of `Delta`, with `aclose`, `cancel(request)` and `counts`.

    Raises:
        InvalidInput: as in `stream`.
        NotADistribution: as in `stream`.
        BundleError: as in `stream`.

    For example:

        async for delta in engine.astream(arriving(), slots=8):
            await clients[delta.request].send(delta.text)
    """
    if isinstance(requests, AsyncIterable):
        source = aiter(requests)
    elif isinstance(requests, Iterable):
        source = _each(requests)
    else:
        raise InvalidInput(f"requests: expected an iterable of Request, got {shown(requests)}")
    return AsyncRequestStream(
        desk_of(runner, requests, slots, (text, prefix_memory), speculate), source
    )


async def _each(requests: Iterable[Request]) -> AsyncIterator[Request]:
    for request in requests:
        yield request


async def _next(requests: AsyncIterator[Request]) -> object:
    """Return the next request, or _END: a task cannot raise StopAsyncIteration."""
    return await anext(requests, _END)


async def _deltas(desk: Desk, requests: AsyncIterator[Request]) -> AsyncGenerator[Delta, None]:
    reading: asyncio.Task[object] | None = None
    more = True
    with desk.lease:
        try:
            while more or not desk.idle:
                if more and reading is None and desk.room:
                    reading = asyncio.create_task(_next(requests))
                if reading is not None:
                    # Without rows there is nothing to do but wait; with rows, only a look.
                    await asyncio.wait({reading}, timeout=None if desk.idle else 0)
                    if reading.done():
                        request, reading = reading.result(), None
                        more = request is not _END
                        if more:
                            desk.offer(request)
                        continue
                for delta in await _in_thread(desk.round):
                    yield delta
        finally:
            if reading is not None:
                reading.cancel()
                await asyncio.wait({reading})


async def _in_thread(call: Callable[[], T]) -> T:
    """Run a call in a worker thread; if this task is cancelled, return only when it has ended."""
    running = asyncio.get_running_loop().run_in_executor(None, call)
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        # An error of the call is not the reason why the stream ends.
        running.exception()
        raise
