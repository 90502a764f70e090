"""Streams of progress, clients that go away, the limit of time, and verification."""

import json
import socket
import time
from typing import Any

import pytest

from ancestral.engine import Engine
from ancestral.parity_document import parity_document
from ancestral.serve.api import jobs
from tests.conftest import Load
from tests.serve.api.conftest import events, post, refused
from tests.serve.conftest import READY, Running, Serve

EVENT = [[[0, 1, 0], [1, 0, 1], [0, 0, 1]]]
LONG = {"model": "bernoulli", "x": EVENT * 64, "k": 10**6, "seed": 1, "stream": True}
"""A call that takes minutes."""


def streamed(running: Running, method: str, **body: Any) -> list[tuple[str, Any]]:
    """Return the events of a call."""
    path = f"/v1/ancestral/{method}"
    with running.http.stream("POST", path, json=body | {"stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response))


def idle(running: Running) -> None:
    """Wait until no call runs or waits."""
    end = time.monotonic() + READY
    while any(each.calls.pending for each in running.server.served.values()):
        assert time.monotonic() < end, "a call still runs"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("method", "body"),
    [
        ("sample", {"model": "tiny", "n": 40, "labels": 0, "seed": 1}),
        ("complete", {"model": "tiny", "observed": [[-1] * 3] * 3, "labels": 0, "seed": 1}),
        ("log_prob", {"model": "text", "text": "the cat " * 200}),
        ("bound", {"model": "bernoulli", "x": EVENT, "k": 500, "seed": 1}),
        ("tokenize", {"model": "text", "text": "the cat"}),
    ],
)
def test_a_stream_ends_with_the_same_document(
    running: Running, method: str, body: dict[str, Any]
) -> None:
    *progress, (name, result) = streamed(running, method, **body)
    assert name == "result"
    assert result == post(running, method, **body)
    assert {name for name, _ in progress} <= {"progress"}
    done = [(each["done"], each["total"]) for _, each in progress]
    assert done == sorted(done)
    assert all(0 < count <= total for count, total in done)


def test_progress_comes_at_most_ten_times_a_second(serve: Serve) -> None:
    """A call of two seconds reports progress, but not each of its thousands of values."""
    running = serve("tiny", seconds=2.0, rows=20_000)
    begin = time.monotonic()
    body = {"model": "tiny", "n": 20_000, "labels": 0}
    *progress, (name, error) = streamed(running, "sample", **body)
    seconds = time.monotonic() - begin
    assert 3 <= len(progress) <= 10 * seconds + 2
    assert progress[-1][1]["done"] > 100 * len(progress)
    assert (name, error["error"]["code"]) == ("error", "timeout")
    running.idle()


def test_the_limit_of_time(serve: Serve) -> None:
    running = serve("bernoulli", seconds=0.5)
    *_, (name, error) = streamed(running, "bound", **LONG)
    assert (name, error["error"]["code"]) == ("error", "timeout")
    idle(running)
    found = refused(running, "bound", **LONG | {"stream": False})
    assert found["status"] == 408
    idle(running)


def test_the_connection_is_kept_open(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that are not events come while there is nothing to report."""
    monkeypatch.setattr(jobs, "PING", 0.1)
    running = serve("bernoulli", seconds=0.5)
    with running.http.stream("POST", "/v1/ancestral/bound", json=LONG) as response:
        lines = list(response.iter_lines())
    assert sum(line.startswith(": ping") for line in lines) >= 2
    idle(running)


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_goes_away_ends_its_call(running: Running, stream: bool) -> None:
    content = json.dumps(LONG | {"stream": stream}).encode()
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as client:
        client.sendall(
            b"POST /v1/ancestral/bound HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(content)}\r\n\r\n".encode()
            + content
        )
        calls = running.server.served["bernoulli"].calls
        end = time.monotonic() + READY
        while not calls.pending:
            assert time.monotonic() < end
            time.sleep(0.01)
        if stream:
            assert b"200 OK" in client.recv(4096)
    idle(running)
    assert post(running, "bound", model="bernoulli", x=EVENT, k=2)["k"] == 2


def test_slots_are_freed_when_a_client_goes_away(serve: Serve) -> None:
    running = serve("tiny", slots=1, rows=4096)
    body = {"model": "tiny", "n": 4096, "labels": 0, "stream": True}
    with running.http.stream("POST", "/v1/ancestral/sample", json=body) as response:
        assert next(events(response))[0] == "progress"
        end = time.monotonic() + READY
        while running.server.served["tiny"].thread.waiting <= 1000:
            assert time.monotonic() < end
            time.sleep(0.001)
    begin = time.monotonic()
    running.idle()
    assert time.monotonic() - begin < 5


def test_an_error_after_the_stream_has_begun(running: Running) -> None:
    """An event that the engine refuses: the error is an event, in the form of other errors."""
    body = {"model": "bernoulli", "x": [[[0] * 3] * 3], "k": 2, "labels": 1}
    ((name, error),) = streamed(running, "bound", **body)
    assert name == "error"
    plain = refused(running, "bound", **body)
    assert error["error"] == {key: plain[key] for key in ("message", "type", "param", "code")}


def test_a_wrong_field_is_refused_before_the_stream(running: Running) -> None:
    found = refused(running, "bound", model="bernoulli", x="a", stream=True)
    assert (found["status"], found["param"]) == (400, "x")
    assert refused(running, "bound", model="nope", x=EVENT, stream=True)["status"] == 404


@pytest.mark.parametrize("model", ["tiny", "bernoulli"])
def test_verify(running: Running, load: Load, model: str) -> None:
    found = post(running, "verify", model=model)
    engine: Engine = load(model, "onnxruntime")
    assert found == json.loads(json.dumps(parity_document(model, [engine.verify()])))
    assert found["passed"] is True
    assert found["backends"][0]["backend"] == "onnxruntime"


def test_one_verification_at_a_time(running: Running) -> None:
    with running.http.stream(
        "POST", "/v1/ancestral/verify", json={"model": "tiny", "stream": True}
    ) as response:
        found = events(response)
        assert next(found) == ("progress", {"done": 0, "total": 1})
        for model in ("tiny", "bernoulli"):
            other = refused(running, "verify", model=model)
            assert (other["status"], other["code"]) == (429, "verifying")
        assert [name for name, _ in found][-1] == "result"
    assert post(running, "verify", model="bernoulli")["passed"] is True
