"""Processes of `ancestral serve`: how they start, log, drain, stop and are killed."""

import json
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from tests.serve.drawing import until
from tests.serve.process import Process, serving
from tests.serve.raw import connect, head, post, rest

PATH = "/v1/completions"
NAMES = ("slots_busy", "queue")
SECRET = "what no one may read in a log"


@pytest.fixture(scope="module")
def bundle(bundles: Callable[[str], Path]) -> Path:
    return bundles("long_text")


def completion(**fields: Any) -> dict[str, Any]:
    body = {"model": "long_text", "prompt": "the", "max_tokens": 1000, "ignore_eos": True}
    return body | {"seed": 1} | fields


def draw(process: Process, **fields: Any) -> httpx.Response:
    return httpx.post(process.url + PATH, json=completion(**fields), timeout=60)


def taken(process: Process) -> float:
    """Return the number of requests that draw or wait."""
    text = httpx.get(f"{process.url}/metrics").text
    numbers = (text.partition(f'ancestral_{name}{{bundle="long_text"}} ')[2] for name in NAMES)
    return sum(float(number.split()[0]) for number in numbers)


def under_load(
    process: Process, pool: ThreadPoolExecutor, count: int, n: int
) -> list[Future[httpx.Response]]:
    """Send requests of n rows, every second one a stream; return them when all have arrived."""
    sent = [
        pool.submit(draw, process, seed=seed, n=n, stream=seed % 2 == 0) for seed in range(count)
    ]
    # By then a few rows may have ended, but fewer than n.
    until(lambda: taken(process) > (count - 1) * n)
    return sent


def ended(answer: httpx.Response) -> bool:
    """Return whether a request has its whole answer."""
    if answer.headers["content-type"].startswith("text/event-stream"):
        return answer.text.rstrip().endswith("data: [DONE]")
    return answer.status_code == 200 and len(answer.json()["choices"]) >= 1


def told(answer: httpx.Response) -> bool:
    """Return whether a client knows that the server stops."""
    return '"code":"stopping"' in answer.text


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_under_load(bundle: Path, sig: signal.Signals) -> None:
    """Each request that was accepted ends, new ones are refused, and the exit code is 0."""
    with serving(bundle, "--slots", "2", "--drain", "60") as process, ThreadPoolExecutor(8) as pool:
        with httpx.Client(base_url=process.url) as kept:
            assert kept.get("/health").status_code == 200
            sent = under_load(process, pool, 4, 3)
            process.send(sig)
            answers = [each.result() for each in sent]
            assert all(map(ended, answers))
            with pytest.raises(httpx.TransportError):
                kept.get("/health")
        assert process.end() == 0
    assert any(f"{sig.name}: requests have 60 s to end" in line for line in process.lines)


def test_a_drain_that_is_over(bundle: Path) -> None:
    """Requests that have not ended get an error: by the status, or in the last event."""
    with serving(bundle, "--slots", "2", "--drain", "0.2") as process:
        with ThreadPoolExecutor(64) as pool:
            sent = under_load(process, pool, 12, 8)
            begin = time.monotonic()
            process.send(signal.SIGTERM)
            answers = [each.result() for each in sent]
            assert process.end(20) == 0
        assert time.monotonic() - begin < 10
    assert all(ended(each) or told(each) for each in answers)
    assert sum(map(told, answers)) >= 6
    assert {each.status_code for each in answers if told(each)} == {200, 503}


@pytest.mark.slow
def test_a_call_that_outlasts_the_drain(bundle: Path) -> None:
    """It gets an error, too, although its thread cannot be stopped at once."""
    with serving(bundle, "--drain", "0.2") as process, ThreadPoolExecutor(4) as pool:
        body = {"model": "long_text", "text": "the cat sat on the mat " * 100}
        url = f"{process.url}/v1/ancestral/log_prob"
        calls = [pool.submit(httpx.post, url, json=body, timeout=60) for _ in range(4)]
        verify = pool.submit(
            httpx.post,
            f"{process.url}/v1/ancestral/verify",
            json={"model": "long_text"},
            timeout=60,
        )
        time.sleep(0.3)
        process.send(signal.SIGTERM)
        assert process.end(30) == 0
        for each in (*calls, verify):
            try:
                answer = each.result()
            except httpx.TransportError:
                # It was still in the socket's queue, and was never accepted.
                continue
            assert answer.status_code in (200, 503), answer.text
            assert answer.status_code == 200 or told(answer)


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal(bundle: Path, sig: signal.Signals) -> None:
    """It stops at once; clients see a connection that is closed."""
    with serving(bundle, "--slots", "2") as process, ThreadPoolExecutor(64) as pool:
        sent = under_load(process, pool, 8, 16)
        process.send(sig)
        until(lambda: any("a second signal stops now" in line for line in process.lines))
        begin = time.monotonic()
        process.send(sig)
        assert process.end(5) == 128 + sig
        assert time.monotonic() - begin < 2
        for each in sent:
            assert isinstance(each.exception(), httpx.TransportError) or ended(each.result())


def test_a_request_while_the_server_drains(bundle: Path) -> None:
    """On a connection that has a request in progress, the next one is not read."""
    with serving(bundle, "--slots", "2", "--drain", "60") as process:
        with connect(process.url) as connection:
            connection.sendall(post(PATH, completion(n=2)))
            until(lambda: taken(process) == 2)
            process.send(signal.SIGTERM)
            time.sleep(0.5)
            connection.sendall(head("GET", "/health"))
            found = rest(connection)
        assert found.count(b"HTTP/1.1 ") == 1
        assert found.startswith(b"HTTP/1.1 200 ")
        assert process.end() == 0


@pytest.mark.slow
def test_killed_and_started_again(bundle: Path) -> None:
    """Clients of a process that is killed see a closed connection; the next start is clean."""
    with serving(bundle, "--slots", "2") as process, ThreadPoolExecutor(8) as pool:
        expected = draw(process, max_tokens=20).json()["choices"]
        sent = under_load(process, pool, 4, 3)
        process.send(signal.SIGKILL)
        assert process.end() == -signal.SIGKILL
        assert any(isinstance(each.exception(), httpx.TransportError) for each in sent)
        port = str(urlsplit(process.url).port)
    again = Process(bundle, "--slots", "2", "--port", port, "--threads", "1")
    try:
        again.ready()
        assert draw(again, max_tokens=20).json()["choices"] == expected
        again.send(signal.SIGTERM)
        assert again.end() == 0
    finally:
        again.close()


def test_log(bundle: Path) -> None:
    """The first line has the address; then each request has a line of JSON, without contents."""
    with serving(bundle) as process:
        answer = draw(process, prompt=SECRET, max_tokens=5)
        httpx.post(f"{process.url}{PATH}?q={SECRET}", content=SECRET)
        with connect(process.url) as connection:
            connection.sendall(b"not http\r\n\r\n")
            rest(connection)
        process.send(signal.SIGTERM)
        assert process.end() == 0
    assert process.lines[0] == f"serving long_text on {process.url}"
    assert [line for line in process.lines[1:] if not line.startswith("{")] == [
        "SIGTERM: requests have 30 s to end; a second signal stops now"
    ]
    assert not any(SECRET[:8] in line for line in process.lines)
    records = process.records()
    (ready,) = [each for each in records if each.get("event") == "engine ready"]
    assert ready["bundle"] == "long_text"
    (first, second) = [each for each in records if each.get("path") == PATH]
    assert first["id"] == answer.headers["x-request-id"]
    assert (first["method"], first["status"], first["bundle"]) == ("POST", 200, "long_text")
    assert first["completion_tokens"] == 5
    assert 0 < first["seconds"] < 60
    assert second["status"] == 400
    assert any(each.get("level") == "warning" for each in records)


def test_contents_are_logged_if_asked_for(bundle: Path) -> None:
    with serving(bundle, "--log-contents") as process:
        draw(process, prompt=SECRET, max_tokens=1)
        process.send(signal.SIGTERM)
        assert process.end() == 0
    (line,) = [each for each in process.records() if each.get("path") == PATH]
    assert json.loads(line["body"])["prompt"] == SECRET


def test_other_machines_can_reach_it(bundle: Path) -> None:
    with serving(bundle, "--host", "0.0.0.0") as process:
        pass
    assert "other machines can reach this server" in process.lines[1]


def test_a_port_that_is_taken(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = str(taken.getsockname()[1])
        with pytest.raises(AssertionError, match=f"cannot listen on 127.0.0.1:{number}"):
            Process(bundle, "--port", number)
