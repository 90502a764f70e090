"""Streams: the same as whole answers, in chunks; errors, limits and clients that go away."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ancestral.engine import Delta, Desk
from tests.serve.completions.conftest import TOYS
from tests.serve.completions.test_law import NATS, mixture
from tests.serve.conftest import Running, Serve

ROUND = 0.4
"""Seconds that a slowed round takes at least."""
LONG = {"prompt": "a", "max_tokens": 38, "ignore_eos": True, "seed": 1, "stream": True}
"""A row of about ten rounds."""


def events(lines: Iterator[str]) -> Iterator[str]:
    """Yield the data of each event; comments are skipped."""
    for line in lines:
        if line.startswith("data: "):
            yield line.removeprefix("data: ")
        else:
            assert not line or line.startswith(":"), line


def streamed(running: Running, body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the chunks of a stream that ends as it should."""
    with running.http.stream("POST", "/v1/completions", json=body | {"stream": True}) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        *chunks, last = events(answer.iter_lines())
    assert last == "[DONE]"
    return [json.loads(each) for each in chunks]


def joined(chunks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return whole choices from chunks, in order."""
    found: dict[int, dict[str, Any]] = {}
    for chunk in chunks:
        for part in chunk["choices"]:
            whole = found.setdefault(part["index"], part)
            if whole is part:
                continue
            assert whole["finish_reason"] is None, "a part after the last one"
            whole["text"] += part["text"]
            whole["finish_reason"] = part["finish_reason"]
            if part["logprobs"] is not None:
                for name, values in part["logprobs"].items():
                    whole["logprobs"][name] += values
    return [found[index] for index in sorted(found)]


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    """Check that two choices are the same, but for rounding in another company."""
    mine, theirs = one.pop("logprobs"), other.pop("logprobs")
    assert one == other
    if mine is None:
        assert theirs is None
        return
    assert mine.keys() == theirs.keys()
    for name in ("ids", "tokens", "text_offset"):
        assert mine[name] == theirs[name]
    for name in ("token_logprobs", "log_q"):
        if name in mine:
            pair = [np.array(each[name], np.float64) for each in (mine, theirs)]
            np.testing.assert_allclose(*pair, rtol=0, atol=NATS)
    for a, b in zip(mine["top_logprobs"], theirs["top_logprobs"], strict=True):
        assert a == (None if b is None else pytest.approx(b, abs=NATS))


@pytest.mark.parametrize("toy", TOYS)
def test_same_as_whole(running: Running, toy: str) -> None:
    """The joined chunks are the answer that comes without a stream."""
    for body in mixture(toy, 12):
        if toy == "gru":
            del body["logprobs"], body["log_q"]
        whole = running.http.post("/v1/completions", json=body).json()
        chunks = streamed(running, body)
        assert len({chunk["id"] for chunk in chunks}) == 1
        for one, other in zip(joined(chunks), whole["choices"], strict=True):
            assert_same(one, other)
    running.idle()


def test_parts_come_one_by_one(running: Running) -> None:
    """A long text has several chunks, the prompt is the first, and only the last says why."""
    body = {"model": "gru", **LONG, "echo": True}
    chunks = streamed(running, body)
    assert len(chunks) >= 5
    assert chunks[0]["choices"][0]["text"] == "a"
    reasons = [chunk["choices"][0]["finish_reason"] for chunk in chunks]
    assert reasons == [None] * (len(chunks) - 1) + ["length"]
    assert all("usage" not in chunk for chunk in chunks)


def test_echo_only(running: Running) -> None:
    """With max_tokens=0 a stream has one chunk for each choice."""
    body = {"model": "gru", "prompt": ["a", "bc"], "echo": True, "max_tokens": 0, "logprobs": 1}
    chunks = streamed(running, body)
    assert [chunk["choices"][0]["text"] for chunk in chunks] == ["a", "bc"]
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks] == ["length"] * 2


def test_usage(running: Running) -> None:
    """The numbers of tokens come in a chunk of their own, if they are asked for."""
    body = {"model": "gru", **LONG, "stream_options": {"include_usage": True}, "n": 2}
    *chunks, last = streamed(running, body)
    assert all(chunk["usage"] is None for chunk in chunks)
    assert last["choices"] == []
    drawn = 2 * LONG["max_tokens"]
    usage = {"prompt_tokens": 1, "completion_tokens": drawn, "total_tokens": drawn + 1}
    assert last["usage"] == usage


@pytest.fixture
def slowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each round of an engine with rows take a while."""
    real = Desk.round

    def slow(desk: Desk) -> list[Delta]:
        if not desk.idle:
            time.sleep(ROUND)
        return real(desk)

    monkeypatch.setattr(Desk, "round", slow)


@pytest.mark.usefixtures("slowed")
@pytest.mark.parametrize("logprobs", [None, 2])
def test_a_client_that_goes_away(running: Running, logprobs: int | None) -> None:
    """Its rows end at once, long before they would have ended by themselves."""
    thread = running.server.served["gru"].thread
    body = {"model": "gru", **LONG, "n": 3, "logprobs": logprobs}
    with httpx.Client(base_url=running.url, timeout=60) as client:
        with client.stream("POST", "/v1/completions", json=body) as answer:
            next(events(answer.iter_lines()))
            assert thread.busy == 3
        begin = time.monotonic()
    while thread.busy or thread.waiting:
        assert time.monotonic() - begin < 5 * ROUND, "the rows go on"
        time.sleep(0.01)


@pytest.mark.usefixtures("slowed")
def test_a_client_that_goes_away_before_the_answer(running: Running) -> None:
    """The same without a stream."""
    thread = running.server.served["gru"].thread
    body = {"model": "gru", **LONG, "stream": False}
    with httpx.Client(base_url=running.url) as client, pytest.raises(httpx.ReadTimeout):
        client.post("/v1/completions", json=body, timeout=2 * ROUND)
    begin = time.monotonic()
    while thread.busy or thread.waiting:
        assert time.monotonic() - begin < 5 * ROUND, "the row goes on"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def hasty(serve: Serve, texts: Callable[[str], Path]) -> Running:
    """A server whose requests have little time."""
    return serve(texts("gru"), seconds=3 * ROUND)


@pytest.mark.usefixtures("slowed")
def test_time_limit(hasty: Running) -> None:
    """The last event of a stream that takes too long says so; its row ends."""
    with hasty.http.stream("POST", "/v1/completions", json={"model": "gru", **LONG}) as answer:
        assert answer.status_code == 200
        *chunks, last = events(answer.iter_lines())
    assert chunks
    assert json.loads(last)["error"]["code"] == "timeout"
    hasty.idle()
    answer = hasty.http.post("/v1/completions", json={"model": "gru", **LONG, "stream": False})
    assert answer.status_code == 408
    assert answer.json()["error"]["code"] == "timeout"
    hasty.idle()


def test_engine_fails_in_mid_stream(
    serve: Serve, texts: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last event says so; then the engine is opened anew."""
    running = serve(texts("gru"))
    real = Desk.round
    rounds = iter(range(100))

    def failing(desk: Desk) -> list[Delta]:
        if not desk.idle and next(rounds) == 2:
            raise RuntimeError("out of memory at /secret/path")
        return real(desk)

    monkeypatch.setattr(Desk, "round", failing)
    with running.http.stream("POST", "/v1/completions", json={"model": "gru", **LONG}) as answer:
        *chunks, last = events(answer.iter_lines())
    assert chunks
    error = json.loads(last)["error"]
    assert (error["code"], error["type"]) == ("engine_failed", "unavailable_error")
    assert "secret" not in error["message"]
    monkeypatch.undo()
    end = time.monotonic() + 30
    while not running.server.ready:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert streamed(running, {"model": "gru", **LONG})


def test_a_full_queue_is_an_http_error(serve: Serve, texts: Callable[[str], Path]) -> None:
    """A request that cannot wait is refused before a stream begins."""
    running = serve(texts("gru"), queue=1, slots=1)
    body = {"model": "gru", **LONG}
    # A call that finds an empty line may be of any size.
    first = threading.Thread(target=streamed, args=(running, {**body, "n": 100}))
    first.start()
    while not running.server.served["gru"].thread.waiting:
        assert first.is_alive()
        time.sleep(0.001)
    answer = running.http.post("/v1/completions", json=body)
    first.join()
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["error"]["type"] == "rate_limit_error"
