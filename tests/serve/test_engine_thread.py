"""The thread of an engine: what is drawn, who waits, who has gone, and how it ends."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from ancestral.engine import Request, Sampling
from ancestral.errors import InvalidInput
from ancestral.serve.refused import Refused
from ancestral.serve.rows import Rows
from ancestral.serve.served import Served
from tests.serve.drawing import SECONDS, Drawn, draw, first_delta, opened, same, until

T = TypeVar("T")
Bundles = Callable[[str], Path]


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(asyncio.wait_for(work, SECONDS))


@pytest.fixture(scope="module")
def tiny(bundles: Bundles) -> Iterator[Served]:
    with opened(bundles("tiny"), slots=5) as served:
        yield served


@pytest.fixture(scope="module")
def long(bundles: Bundles) -> Iterator[Served]:
    """One slot, for one of two requests that each take a while."""
    with opened(bundles("long_text"), slots=1, queue=2) as served:
        yield served


def endless(seed: int = 0) -> Request:
    return Request([5], seed=seed, stop=())


def test_company(tiny: Served) -> None:
    """Each request of a mixture draws what it draws by itself; some clients go away in between."""
    engine = tiny.autoregressive()
    random = np.random.default_rng(0)
    filters = [
        Sampling(),
        Sampling(temperature=0.7),
        Sampling(top_k=2),
        Sampling(logit_bias={1: 2}),
    ]

    def request(i: int) -> Request:
        return Request(
            random.integers(0, 3, random.integers(0, 6)),
            label=int(random.integers(2)),
            seed=int(random.integers(2**63)),
            index=i,
            sampling=filters[random.integers(4)],
            max_new=int(random.integers(1, 9)),
        )

    calls = [[request(i) for _ in range(random.integers(1, 4))] for i in range(60)]

    async def client(i: int) -> list[Drawn] | None:
        await asyncio.sleep(0.003 * (i % 20))
        if i % 4:
            return await draw(tiny.thread, *calls[i])
        rows = Rows(calls[i])
        tiny.thread.submit(rows)
        if i % 8:
            await anext(rows)
        tiny.thread.cancel(rows)
        return None

    async def clients() -> list[list[Drawn] | None]:
        return await asyncio.gather(*map(client, range(60)))

    for call, drawn in zip(calls, run(clients()), strict=True):
        for each, got in zip(call, drawn or (), strict=drawn is not None):
            (row,) = engine.generate(
                [each.prompt],
                each.max_new,
                labels=each.label,
                seed=each.seed,
                first_index=each.index,
                sampling=each.sampling,
            )
            same(got, row.tokens, row.log_p)
            assert got.ended == row.ended
    until(lambda: tiny.thread.busy + tiny.thread.waiting == 0)


def test_events(tiny: Served) -> None:
    """A request without a prompt draws the event that `sample` draws."""
    labels = [i % 2 for i in range(8)]
    expected = tiny.autoregressive().sample(8, labels, seed=3)
    drawn = run(draw(tiny.thread, *(Request(label=i % 2, seed=3, index=i) for i in range(8))))
    for got, x in zip(drawn, expected.x, strict=True):
        assert got.values == x.ravel().tolist()


def test_a_client_that_goes_away_frees_its_slot(long: Served) -> None:
    """It is freed within a launch, and the next request gets it."""
    values = [0]

    async def clients() -> list[Drawn]:
        rows = await first_delta(long.thread, endless())
        long.thread.cancel(rows)
        begin = time.monotonic()
        drawn = await draw(long.thread, Request([5], max_new=1))
        assert time.monotonic() - begin < 1
        async for _, delta in rows:
            values[0] += len(delta.values)
        return drawn

    (drawn,) = run(clients())
    assert len(drawn.values) == 1
    # Launches may end between the first delta and the cancellation, but the row had 1,023 to go.
    assert values[0] < 500
    until(lambda: long.thread.busy == 0)


def test_a_client_that_goes_away_while_it_waits(long: Served) -> None:
    """A call that is cancelled between queue and slot never gets one."""

    async def clients() -> None:
        first = await first_delta(long.thread, endless())
        second = Rows([endless(1), endless(2)])
        long.thread.submit(second)
        assert long.thread.waiting == 2
        long.thread.cancel(second)
        third = asyncio.ensure_future(draw(long.thread, Request([5], max_new=1)))
        await asyncio.sleep(0.05)
        assert long.thread.waiting == 1
        long.thread.cancel(first)
        assert len((await third)[0].values) == 1
        assert second._found.empty()

    run(clients())
    until(lambda: long.thread.busy + long.thread.waiting == 0)


def test_a_full_queue(long: Served, tiny: Served) -> None:
    """One request draws, two wait, and the fourth is refused; another bundle has its own queue."""

    async def clients() -> None:
        rows = [await first_delta(long.thread, endless())]
        for seed in (1, 2):
            rows.append(Rows([endless(seed)]))
            long.thread.submit(rows[-1])
        with pytest.raises(Refused, match="the queue is full: 2 requests wait") as caught:
            long.thread.submit(Rows([endless(3)]))
        assert caught.value.status == 429
        assert 1 <= int(caught.value.headers["Retry-After"]) <= 60
        assert len(await draw(tiny.thread, Request(label=0))) == 1
        for each in rows:
            long.thread.cancel(each)
        assert len(await draw(long.thread, Request([5], max_new=1), Request([5], max_new=1))) == 2

    run(clients())
    until(lambda: long.thread.busy + long.thread.waiting == 0)


def test_free_slots_count_as_room(tiny: Served) -> None:
    """Requests that arrive between two launches are not refused while slots are free."""

    async def clients() -> None:
        rows = [Rows([Request(label=0)]) for _ in range(4)]
        for each in rows:
            each_thread.submit(each)
        for each in rows:
            async for _ in each:
                pass

    with opened(tiny.path, slots=4, queue=1) as served:
        each_thread = served.thread
        for _ in range(20):
            run(clients())


def test_a_request_that_does_not_fit(tiny: Served) -> None:
    """The words name no number of the desk, the call's other rows leave, and others go on."""

    async def clients() -> tuple[list[Drawn], BaseException]:
        bad = [Request(label=0), Request([0] * 10, label=0), Request([1] * 10), *[endless()] * 20]
        good, refused = await asyncio.gather(
            draw(tiny.thread, *(Request(label=1, index=i) for i in range(9))),
            draw(tiny.thread, *bad),
            return_exceptions=True,
        )
        assert not isinstance(good, BaseException)
        assert isinstance(refused, BaseException)
        return good, refused

    good, refused = run(clients())
    assert isinstance(refused, InvalidInput)
    assert str(refused).startswith("prompt: expected at most ")
    expected = tiny.autoregressive().sample(9, [1] * 9)
    assert [each.values for each in good] == [x.ravel().tolist() for x in expected.x]
    until(lambda: tiny.thread.busy + tiny.thread.waiting == 0)


def test_a_request_for_a_graph_that_is_missing(bundles: Bundles) -> None:
    """Its own client gets the error, whatever the route has checked; others draw on."""

    async def clients() -> tuple[list[Drawn], BaseException]:
        first = await first_delta(served.thread, Request([5], stop=()))
        wrong = draw(served.thread, Request([5], sampling=Sampling(top_k=2)))
        told, _ = await asyncio.gather(wrong, asyncio.sleep(0), return_exceptions=True)
        assert isinstance(told, BaseException)
        return [each async for each in first], told

    with opened(bundles("text"), slots=2) as served:
        others, told = run(clients())
        assert served.thread.ready
    assert isinstance(told, Refused)
    assert (told.status, told.code) == (400, "no_graph")
    assert others[-1][1].ended == "context"


def test_an_error_ends_a_call(tiny: Served) -> None:
    """Rows that raised yield nothing more."""

    async def client() -> None:
        rows = Rows([Request([9], label=0)])
        tiny.thread.submit(rows)
        with pytest.raises(InvalidInput):
            await anext(rows)
        with pytest.raises(StopAsyncIteration):
            await anext(rows)
        assert [each async for each in Rows([])] == []

    run(client())


def test_nothing_is_kept_of_calls_that_ended(tiny: Served) -> None:
    for i in range(300):
        run(draw(tiny.thread, Request(label=0, index=i, max_new=1)))
    until(lambda: tiny.thread.busy == 0)
    assert len(tiny.thread._line._gone) <= 1
    assert not tiny.thread._line._waiting


def test_stop_lets_requests_end(bundles: Bundles) -> None:
    """Those that wait draw, too; new ones are refused."""

    async def clients() -> list[Drawn]:
        drawing = asyncio.ensure_future(draw(served.thread, *[endless(i) for i in range(3)]))
        until(lambda: served.thread.busy == 1) if drawing.done() else await asyncio.sleep(0.05)
        served.stop(drop=False)
        with pytest.raises(Refused, match="the server is stopping") as caught:
            served.thread.submit(Rows([endless()]))
        assert caught.value.status == 503
        return await drawing

    with opened(bundles("text"), slots=1) as served:
        assert [each.ended for each in run(clients())] == ["context"] * 3
        served.thread.join(SECONDS)
        assert not served.thread.is_alive()


def test_stop_and_drop_tells_everyone(bundles: Bundles) -> None:
    async def clients() -> list[BaseException | list[Drawn]]:
        calls = [asyncio.ensure_future(draw(served.thread, endless(i))) for i in range(3)]
        await asyncio.sleep(0.05)
        served.stop(drop=True)
        return await asyncio.gather(*calls, return_exceptions=True)

    with opened(bundles("long_text"), slots=1) as served:
        begin = time.monotonic()
        told = run(clients())
        assert time.monotonic() - begin < 1
    assert [type(each) for each in told] == [Refused] * 3
    assert {str(each) for each in told} == {"the server is stopping; try again later"}
