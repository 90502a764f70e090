"""Streams of requests for asyncio: sources that wait, close and raise; back-pressure."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ancestral.engine import AutoregressiveEngine, Delta, Request
from ancestral.errors import InvalidInput
from tests.engine.streamed import joined, requests


async def arriving(n: int) -> AsyncIterator[Request]:
    for request in requests(n):
        await asyncio.sleep(0.001)
        yield request


def test_async(text: AutoregressiveEngine) -> None:
    expected = joined(text.stream(requests(5), 2))

    async def read(source: Any) -> list[Delta]:
        return [delta async for delta in text.astream(source, 2)]

    async def both() -> list[list[Delta]]:
        return await asyncio.gather(read(arriving(5)), read(requests(5)))

    for deltas in asyncio.run(both()):
        assert joined(deltas) == expected


def test_async_rows_go_on_while_the_source_waits(text: AutoregressiveEngine) -> None:
    """And it goes on when the next request comes; the event loop is free meanwhile."""

    async def main() -> dict[int, Any]:
        first_done = asyncio.Event()

        async def source() -> AsyncIterator[Request]:
            one, other = requests(2)
            yield one
            await first_done.wait()
            yield other

        deltas = []
        async with asyncio.timeout(60), text.astream(source(), 2) as stream:
            async for delta in stream:
                deltas.append(delta)
                if delta.ended:
                    first_done.set()
        assert stream.counts.finished == 2
        return joined(deltas)

    assert asyncio.run(main()) == joined(text.stream(requests(2), 2))


def test_async_closed(text: AutoregressiveEngine) -> None:
    """By its consumer, by a cancelled task, and by a source that raises."""

    async def closed() -> None:
        stream = text.astream(arriving(50), 2)
        await anext(stream)
        stream.cancel(1)
        await stream.aclose()
        assert [delta async for delta in stream] == []

    async def cancelled() -> None:
        async def read() -> None:
            async for _ in text.astream(arriving(50), 2):
                pass

        task = asyncio.create_task(read())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def refused() -> None:
        async def source() -> AsyncIterator[Request]:
            yield Request([1])
            yield Request([999])

        with pytest.raises(InvalidInput, match="request 1: prompt: "):
            async for _ in text.astream(source(), 2):
                pass

    expected = joined(text.stream(requests(3), 2))
    for case in (closed, cancelled, refused):
        asyncio.run(case())
        assert joined(text.stream(requests(3), 2)) == expected


def test_async_source_that_raises(text: AutoregressiveEngine) -> None:
    """While rows draw and at the start; what it raised comes out, and the engine goes on."""
    expected = joined(text.stream(requests(3), 2))

    async def read(n: int) -> list[Delta]:
        async def source() -> AsyncIterator[Request]:
            for request in requests(n):
                yield request
            raise LookupError("from the source")

        return [delta async for delta in text.astream(source(), 4)]

    for n in (0, 2):
        with pytest.raises(LookupError, match="from the source"):
            asyncio.run(read(n))
        assert joined(text.stream(requests(3), 2)) == expected


def test_async_back_pressure(text: AutoregressiveEngine) -> None:
    """While the consumer does not read, no request is read and no value is drawn."""
    read: list[int] = []

    async def source() -> AsyncIterator[Request]:
        for i, request in enumerate(requests(9)):
            read.append(i)
            yield request

    async def main() -> None:
        async with text.astream(source(), 2) as stream:
            await anext(stream)
            before = (stream.counts, list(read))
            assert len(read) == 2
            for _ in range(20):
                await asyncio.sleep(0.002)
            assert (stream.counts, read) == before
            deltas = [delta async for delta in stream]
        assert sum(delta.ended is not None for delta in deltas) == len(read) == 9

    asyncio.run(main())
