"""Streams of requests: read lazily, cancelled, closed, refused; and several at the same time."""

import gc
import weakref
from collections.abc import Iterator
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
from ancestral.errors import InvalidInput, NotADistribution
from tests.conftest import Load, autoregressive
from tests.engine.streamed import joined, requests
from tests.engine.threads import together


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


def test_a_cancelled_request_leaves_its_slot(text: AutoregressiveEngine) -> None:
    """The slot is empty before the next request is read, not when the row would have ended."""
    stream = text.stream(requests(2), 1)
    first = next(stream)
    stream.cancel(0)
    last = next(stream)
    assert (last.request, last.ended) == (0, "cancelled")
    counts = stream.counts
    assert (counts.running, counts.queued, counts.values) == (0, 0, len(first.values))
    assert next(stream).request == 1


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


def test_slots_that_memory_does_not_hold(
    text: AutoregressiveEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = budget.bytes_of_row(text.session("step").signature)
    monkeypatch.setattr(budget, "memory_of_host", lambda: 4 * each)
    assert len(joined(text.stream(list(requests(5)), 4))) == 5
    with pytest.raises(InvalidInput, match=r"slots: .* MiB needed for 5, .*; use at most 4"):
        text.stream(list(requests(5)), 5)


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
