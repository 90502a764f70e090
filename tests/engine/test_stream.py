"""Streams of requests: read lazily, cancelled, closed, refused; text, counts, threads, asyncio."""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Iterator
from threading import Thread
from typing import Any

import numpy as np
import pytest

from ancestral.engine import (
    AutoregressiveEngine,
    Delta,
    Engine,
    Request,
    Sampling,
    budget,
    row_loop,
)
from ancestral.engine.stop_text import RowText
from ancestral.errors import InvalidInput, NotADistribution
from ancestral.text.tokenizer import Bytes, Words
from tests.conftest import Load, autoregressive
from tests.engine.threads import together
from tests.text_toys import CONTEXT


@pytest.fixture
def text(load: Load) -> AutoregressiveEngine:
    return autoregressive(load, "text", "onnxruntime")


def requests(n: int, **options: Any) -> Iterator[Request]:
    return (Request([1 + i], index=i, seed=4, stop=(), **options) for i in range(n))


def joined(deltas: Any) -> dict[int, tuple[list[int], str, str]]:
    """Values, text and reason of each request."""
    values: dict[int, list[int]] = {}
    texts: dict[int, str] = {}
    ended: dict[int, str] = {}
    for delta in deltas:
        assert delta.request not in ended, "a delta after the last one"
        values.setdefault(delta.request, []).extend(delta.values.tolist())
        texts[delta.request] = texts.get(delta.request, "") + (delta.text or "")
        if delta.ended:
            ended[delta.request] = delta.ended
    assert ended.keys() == values.keys()
    return {i: (values[i], texts[i], ended[i]) for i in sorted(values)}


def test_text_and_stop_ids(text: AutoregressiveEngine) -> None:
    """Text is that of the values without the stop id's; ends are those of `generate`."""
    tokenizer = text.tokenizer()
    prompts = [[1], [2, 3, 4], [7] * 20, [5] * CONTEXT]
    rows = text.generate(prompts, 12, seed=2, stop=range(40))
    found = joined(
        text.stream(
            [
                Request(p, seed=2, index=i, max_new=12, stop=range(40))
                for i, p in enumerate(prompts)
            ],
            2,
        )
    )
    assert {row.ended for row in rows} >= {"stop", "context"}
    for i, row in enumerate(rows):
        values, said, ended = found[i]
        assert (values, ended) == (row.tokens.tolist(), row.ended)
        kept = values[:-1] if ended == "stop" else values
        whole = tokenizer.decode([*prompts[i], *kept])
        assert said == whole[len(tokenizer.decode(prompts[i])) :]


def test_stop_text(text: AutoregressiveEngine) -> None:
    """A text from the middle of a token to the middle of a later one ends the row there."""
    (free,) = joined(text.stream(requests(1))).values()
    values, whole, _ = free
    places = [
        i for i in range(5, len(whole) - 3) if "\N{REPLACEMENT CHARACTER}" not in whole[i : i + 3]
    ]
    stop = whole[places[0] : places[0] + 3]
    ((cut, said, ended),) = joined(text.stream(requests(1, stop_text=["zzzz", stop]))).values()
    assert (said, ended) == (whole[: whole.index(stop)], "stop")
    assert cut == values[: len(cut)]
    assert len(cut) < len(values)
    assert stop in text.tokenizer().decode([1, *cut])
    assert stop not in text.tokenizer().decode([1, *cut[:-1]])


@pytest.mark.parametrize(
    ("tokens", "stops", "parts"),
    [
        ("abcabd", ["abd"], ["", "", "abc", "", "", "", ""]),
        ("abcab", ["abd"], ["", "", "abc", "", "", "ab"]),
        ("xaby", ["by", "ab"], ["x", "", "", ""]),
        ("héé", ["é"], ["h", "", "", ""]),
        ("héx", ["éy"], ["h", "", "", "éx", ""]),
        ("abé", ["b"], ["a", "", ""]),
        ("abc", [], ["a", "b", "c", ""]),
    ],
)
def test_held_back(tokens: str, stops: list[str], parts: list[str]) -> None:
    """Text that may begin a stop text waits; no part of a stop text is ever given away."""
    row, got = RowText(Bytes(), [], stops), []
    for token in Bytes().encode(tokens):
        stopped = row.push(token)
        got.append(row.take())
        if stopped:
            break
    assert [*got, row.finish()] == parts


def test_prompt_is_not_repeated() -> None:
    """Blanks that a decoder drops at a beginning stay; a character that a prompt cuts is whole."""
    row = RowText(Words("a\nb\n"), [0], [])
    row.push(1)
    assert row.take() + row.finish() == " b"
    start, *rest = Bytes().encode("é")
    row = RowText(Bytes(), [97, start], [])
    for token in rest:
        row.push(token)
    assert row.take() == "é"


def test_no_text(text: AutoregressiveEngine, load: Load) -> None:
    assert all(delta.text is None for delta in text.stream(requests(2), text=False))
    ids = autoregressive(load, "llama", "onnxruntime")
    assert all(delta.text is None for delta in ids.stream(requests(2)))


def test_back_pressure(text: AutoregressiveEngine) -> None:
    """A source is read when there is a slot: never more of it than slots is unfinished."""
    read: list[int] = []

    def source() -> Iterator[Request]:
        for i, request in enumerate(requests(9, max_new=5)):
            read.append(i)
            yield request

    stream = text.stream(source(), 2)
    assert not read
    ended = 0
    for delta in stream:
        ended += delta.ended is not None
        # A round may end two rows before their deltas are read.
        assert len(read) <= ended + 2 + 2
        counts = stream.counts
        assert counts.queued + counts.running <= 2
    assert (ended, len(read)) == (9, 9)
    counts = stream.counts
    assert (counts.finished, counts.values, counts.running, counts.queued) == (9, 45, 0, 0)


def test_cancel(text: AutoregressiveEngine) -> None:
    """Requests that draw, wait or were not read yet are cancelled; others keep their values."""
    whole = joined(text.stream(requests(6), 2))
    stream = text.stream(requests(6), 2)
    stream.cancel(5)
    deltas: list[Delta] = []
    for delta in stream:
        if delta.request == 0 and len(deltas) < 2:
            stream.cancel(0)
        deltas.append(delta)
    found = joined(deltas)
    assert {i for i, (_, _, ended) in found.items() if ended == "cancelled"} == {0, 5}
    assert found[5][0] == []
    assert 0 < len(found[0][0]) < len(whole[0][0])
    for i in range(1, 5):
        assert found[i] == whole[i]
    assert (stream.counts.finished, stream.counts.cancelled) == (4, 2)
    stream.cancel(0)
    with pytest.raises(InvalidInput, match="request: expected an integer"):
        stream.cancel(-1)


@pytest.mark.parametrize("how", ["close", "with", "dropped", "never begun"])
def test_closed(text: AutoregressiveEngine, how: str) -> None:
    """Whichever way a stream ends early, its tensors are freed and the engine goes on."""
    expected = joined(text.stream(requests(3), 2))
    made: list[Any] = []
    session = text.session("step")
    real = type(session).bind

    def bind(self: Any, sizes: Any) -> Any:
        binding = real(self, sizes)
        made.append(weakref.ref(binding))
        return binding

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(session), "bind", bind)
        stream = text.stream(requests(3), 3)
        if how != "never begun":
            next(stream)
            assert len(made) == 1
        if how == "close":
            stream.close()
            assert next(stream, None) is None
        elif how == "with":
            with stream:
                next(stream)
        gc.disable()
        del stream
        try:
            assert [each() for each in made] == [None] * len(made)
        finally:
            gc.enable()
    assert joined(text.stream(requests(3), 2)) == expected


def test_errors_leave_the_engine(text: AutoregressiveEngine) -> None:
    """A source or a consumer that raises, and a wrong request."""
    expected = joined(text.stream(requests(3), 2))

    def source() -> Iterator[Any]:
        yield from requests(2)
        raise LookupError("from the source")

    with pytest.raises(LookupError, match="from the source"):
        list(text.stream(source(), 3))

    def consume() -> None:
        for _ in text.stream(requests(3), 2):
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        consume()
    with pytest.raises(InvalidInput, match="request 1: prompt: expected at most 24 tokens"):
        list(text.stream(iter([Request([1]), Request([1] * 25)]), 2))
    assert joined(text.stream(requests(3), 2)) == expected


def test_a_callback_that_raises(text: AutoregressiveEngine) -> None:
    """`generate` passes on what its callback raises, and the engine goes on."""
    expected = joined(text.stream(requests(3), 2))
    calls: list[int] = []

    def callback(index: int, tokens: Any) -> None:
        calls.append(index)
        raise LookupError("from the callback")

    with pytest.raises(LookupError, match="from the callback"):
        text.generate([[1], [2]], seed=4, stop=(), stream=callback)
    assert len(calls) == 1
    assert joined(text.stream(requests(3), 2)) == expected


def test_nan(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that has drawn from no distribution is refused, by its index."""
    engine = autoregressive(load, "text", "torch")
    real = row_loop.read_drawn

    def read(binding: Any, signature: Any) -> Any:
        found = real(binding, signature)
        found.log_p[1, 6] = np.nan
        return found

    monkeypatch.setattr(row_loop, "read_drawn", read)
    with pytest.raises(NotADistribution, match=r"sample 1: logits are .* at position 6"):
        list(engine.stream(requests(2)))


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_nan_of_a_tenant_is_cleaned(load: Load, backend: str) -> None:
    """A cache with NaN, which a mask lets through, is not left to the next tenant."""
    engine = autoregressive(load, "llama", backend)
    expected = joined(engine.stream(requests(2), 1))
    found = []
    stream = engine.stream(requests(2), 1)
    for delta in stream:
        found.append(delta)
        if delta.ended and delta.request == 0:
            binding = stream._desk._slots._exchange.binding
            for name in ("k_0", "v_0", "k_1", "v_1", "log_p"):
                binding.write(name, np.full_like(binding.read(name), np.nan))
    assert joined(found) == expected


def test_streams_at_the_same_time(text: AutoregressiveEngine) -> None:
    """In turns in one thread, and in threads with other calls."""
    expected = joined(text.stream(requests(5), 2))
    one, other = text.stream(requests(5), 2), text.stream(requests(5), 2)
    pairs = list(zip(one, other, strict=True))
    assert joined(pair[0] for pair in pairs) == joined(pair[1] for pair in pairs) == expected
    generated = [row.tokens.tolist() for row in text.generate([[1], [2]], seed=4, stop=())]
    calls: list[Any] = [lambda: joined(text.stream(requests(5), 2))] * 4
    calls += [lambda: [r.tokens.tolist() for r in text.generate([[1], [2]], seed=4, stop=())]] * 2
    found = together(calls)
    assert found[:4] == [expected] * 4
    assert found[4:] == [generated] * 2


def test_a_consumer_may_call_the_engine_from_another_thread(text: AutoregressiveEngine) -> None:
    expected = joined(text.stream(requests(3), 2))
    deltas = []
    for delta in text.stream(requests(3), 2):
        thread = Thread(target=text.generate, args=([[1]],), kwargs={"max_new": 2})
        thread.start()
        thread.join(60)
        assert not thread.is_alive()
        deltas.append(delta)
    assert joined(deltas) == expected


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


def test_slots_that_memory_does_not_hold(
    text: AutoregressiveEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = budget.bytes_of_row(text.session("step").signature)
    monkeypatch.setattr(budget, "memory_of_host", lambda: 4 * each)
    assert len(joined(text.stream(list(requests(5)), 4))) == 5
    with pytest.raises(InvalidInput, match=r"slots: .* MiB needed for 5, .*; use at most 4"):
        text.stream(list(requests(5)), 5)


FIELDS: dict[str, tuple[dict[str, Any], str]] = {
    "seed": ({"seed": -1}, "seed: expected an integer in 0"),
    "index": ({"index": 2**32}, "index: expected an integer in 0"),
    "max_new": ({"max_new": 0}, "max_new: expected an integer in 1"),
    "sampling": ({"sampling": 1}, "sampling: expected a Sampling"),
    "stop text": ({"stop_text": ["a", ""]}, "stop_text: expected texts that are not empty, got ''"),
    "one text": ({"stop_text": "ab"}, "stop_text: expected a list of texts, got 'ab'"),
    "both": ({"prompt": [1], "observed": [1]}, "observed: expected no prompt with it"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_wrong_fields(case: str) -> None:
    fields, words = FIELDS[case]
    with pytest.raises(InvalidInput, match=words):
        Request(**fields)


MISFITS: dict[str, tuple[str, Any, str]] = {
    "not a request": ("text", [1], r"request 0: expected a Request, got \[1\]"),
    "vocabulary": ("text", Request([293]), r"request 0: prompt: .*0 \.\. 292, got 293"),
    "observed": ("text", Request(observed=[1]), "request 0: observed: expected shape"),
    "stop": ("text", Request([1], stop=[293]), "request 0: stop: expected an integer in 0"),
    "label": ("text", Request([1], label=0), "request 0: label: the model has no classes"),
    "no label": ("tiny", Request([1]), r"request 0: `label` is required.* 0 \.\. 1"),
    "class": ("tiny", Request([1], label=2), "request 0: label: expected an integer in 0"),
    "stop text": ("tiny", Request([1], label=0, stop_text=["a"]), "the bundle has no tokenizer"),
    "empty": ("startless", Request(), "request 0: prompt: .*no start symbol"),
}


@pytest.mark.parametrize("case", MISFITS)
def test_misfits(load: Load, case: str) -> None:
    toy, request, words = MISFITS[case]
    with pytest.raises(InvalidInput, match=words):
        list(autoregressive(load, toy, "onnxruntime").stream([request]))


def test_wrong_arguments(text: AutoregressiveEngine) -> None:
    wrong: Any = 3
    with pytest.raises(InvalidInput, match="requests: expected an iterable of Request, got 3"):
        text.stream(wrong)
    with pytest.raises(InvalidInput, match="requests: expected an iterable"):
        text.astream(wrong)
    with pytest.raises(InvalidInput, match="slots: expected an integer in 1"):
        text.stream([], 0)
    assert list(text.stream([])) == []


def test_greedy_without_neighbours(load: Load) -> None:
    """The filtered graph is taken at once if the first request needs it."""
    engine = autoregressive(load, "tiny", "onnxruntime")
    greedy = Sampling(temperature=0)
    ((values, _, _),) = joined(engine.stream([Request([1], label=1, sampling=greedy)])).values()
    (row,) = engine.generate([[1]], labels=1, sampling=greedy)
    assert values == row.tokens.tolist()


def test_engine_of_latents_has_no_stream() -> None:
    assert not hasattr(Engine, "stream")
