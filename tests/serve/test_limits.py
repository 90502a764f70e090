"""Limits on requests, bodies, connections and time; nothing is left of clients that go away."""

import json
import os
import socket
import time
from collections.abc import Iterator

import httpx
import pytest

from ancestral.serve.connection import SPARE
from tests.serve.conftest import Running, Serve
from tests.serve.drawing import names, until
from tests.serve.raw import answer, closed_after, connect, head, post, rest, vanish

BODY = 4096
READ = 0.5
PATH = "/v1/completions"
CLOSE = "connection: close"


@pytest.fixture(scope="module")
def running(serve: Serve) -> Running:
    return serve("long_text", body=BODY, read_seconds=READ, slots=2, queue=64)


def completion(**fields: object) -> dict[str, object]:
    return {"model": "long_text", "prompt": "the", "max_tokens": 2, "seed": 1} | fields


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/ancestral/log_prob", "/nope"])
def test_a_body_that_is_too_large(running: Running, path: str) -> None:
    """It is refused by its header, before it is sent, and the connection is closed."""
    status, body = answer(running.url, head("POST", path, f"content-length: {BODY + 1}"))
    assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")


def test_a_body_in_chunks_that_is_too_large(running: Running) -> None:
    chunk = b"400\r\n" + b" " * 1024 + b"\r\n"
    status, body = answer(running.url, head("POST", PATH, "transfer-encoding: chunked") + chunk * 5)
    assert (status, json.loads(body)["error"]["code"]) == (413, "body_too_large")


def test_a_body_that_fits(running: Running) -> None:
    """Chunks that end within the limit are a body as any other."""
    content = json.dumps(completion()).encode()
    content += b" " * (BODY - len(content))
    halves = content[:2048], content[2048:]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(half), half) for half in halves)
    request = head("POST", PATH, "transfer-encoding: chunked", CLOSE) + chunks + b"0\r\n\r\n"
    assert answer(running.url, request)[0] == 200
    assert running.http.post(PATH, content=content + b" ").status_code == 413


@pytest.mark.parametrize(
    "lines",
    [
        ("content-length: -1",),
        ("content-length: " + "9" * 5000,),
        ("content-length: 3", "content-length: 4"),
        ("content-length: 3x",),
        ("transfer-encoding: gzip",),
        ("transfer-encoding: chunked, chunked",),
        ("x: " + "a" * 2**17,),
        ("a b: c",),
    ],
    ids=lambda lines: lines[0][:20],
)
def test_tricks_with_headers(running: Running, lines: tuple[str, ...]) -> None:
    status, _ = answer(running.url, head("POST", PATH, CLOSE, *lines) + b"{}\r\n")
    assert status in (400, 413, 431, 501)


def test_length_and_chunks(running: Running) -> None:
    """A proxy may see one body where the server sees another: nothing is taken from it."""
    lines = ("content-length: 4", "transfer-encoding: chunked", CLOSE)
    found = answer(
        running.url, head("POST", "/health", *lines) + b"0\r\n\r\nGET /metrics HTTP/1.1\r\n"
    )
    assert b"ancestral_" not in found[1]


def test_bodies_that_are_too_many(serve: Serve) -> None:
    """A second large body is refused while the first is held; small ones are not."""
    running = serve("tiny", body=2**20, bodies=2**19, read_seconds=20)
    path, large = "/v1/ancestral/sample", b" " * 400_000
    good = {"model": "tiny", "labels": 0}
    # The server may take up the second body first, and refuse the other one: then once more.
    for _ in range(100):
        first = connect(running.url)
        first.sendall(head("POST", path, "content-length: 400001") + large)
        refused = running.http.post(path, content=large)
        if refused.status_code == 503:
            break
        first.close()
    with first:
        assert refused.json()["error"]["code"] == "too_many_bytes"
        assert refused.headers["retry-after"] == "1"
        assert running.http.post(path, json=good).status_code == 200
    alone = json.dumps(good).encode() + b" " * 900_000
    until(lambda: running.http.post(path, content=alone).status_code == 200)


def test_a_body_that_is_too_slow(running: Running) -> None:
    begin = time.monotonic()
    status, body = answer(running.url, head("POST", PATH, "content-length: 10") + b"{")
    assert (status, json.loads(body)["error"]["code"]) == (408, "timeout")
    assert READ <= time.monotonic() - begin < READ + 2


@pytest.mark.parametrize("begun", [b"", b"GET /health HT", head("GET", "/health")[:-2]])
def test_a_head_that_never_ends(running: Running, begun: bytes) -> None:
    with connect(running.url) as connection:
        connection.sendall(begun)
        assert closed_after(connection) < READ + 3


def dribble(connection: socket.socket) -> float:
    """Send a byte now and then, until the server closes the connection; return the seconds."""
    begin = time.monotonic()
    while time.monotonic() - begin < 20:
        try:
            connection.sendall(b"a")
        except OSError:
            break
        time.sleep(0.05)
    return time.monotonic() - begin


def test_clients_that_dribble(running: Running) -> None:
    """A byte now and then keeps no connection open: not in a head, nor after a response."""
    with connect(running.url) as first, connect(running.url) as second:
        first.sendall(b"GET /health HTTP/1.1\r\nx: ")
        second.sendall(head("POST", "/nope", "content-length: 1000"))
        assert second.recv(12) == b"HTTP/1.1 404"
        assert dribble(first) < READ + 3
        assert dribble(second) < READ + 3


def test_a_busy_connection_stays_open(running: Running) -> None:
    """Sweeps do not close a connection on which requests follow each other."""
    with httpx.Client(base_url=running.url) as client:
        begin = time.monotonic()
        stream = client.get("/health").extensions["network_stream"]
        name = stream.get_extra_info("client_addr")
        while time.monotonic() - begin < 3 * (READ + 1):
            again = client.get("/health").extensions["network_stream"]
            assert again.get_extra_info("client_addr") == name
            time.sleep(0.02)


def test_small_parts_are_sent_at_once(running: Running) -> None:
    """Nothing waits for the client's system to acknowledge what came before, which takes 40 ms."""
    times = []
    with httpx.Client(base_url=running.url) as client:
        for _ in range(31):
            begin = time.monotonic()
            client.get("/v1/models")
            times.append(time.monotonic() - begin)
    assert sorted(times)[15] < 0.03, times


def test_a_client_that_does_not_read(running: Running) -> None:
    """Its connection is cut off, although responses wait to be sent."""
    with connect(running.url, buffer=4096) as connection:
        connection.settimeout(5)
        try:
            for _ in range(400):
                connection.sendall(head("GET", "/openapi.json"))
        except OSError:
            pass
        until(lambda: open_connections(running) <= 1, 20)


def open_connections(running: Running) -> int:
    return len(running._http.server_state.connections)


def test_too_many_requests(serve: Serve) -> None:
    """The third one is refused, but health is answered, and all is well when they have ended."""
    running = serve("tiny", connections=2, read_seconds=20)
    with connect(running.url) as first, connect(running.url) as second:
        for each in (first, second):
            each.sendall(head("POST", "/v1/ancestral/sample", "content-length: 10"))
        until(lambda: running.http.get("/v1/ancestral/info").status_code == 503)
        refused = running.http.get("/v1/ancestral/info")
        assert refused.json()["error"]["code"] == "too_many_connections"
        assert refused.headers["retry-after"] == "1"
        assert running.http.get("/health").status_code == 200
    until(lambda: running.http.get("/v1/ancestral/info").status_code == 200)


def test_too_many_connections(serve: Serve) -> None:
    running = serve("tiny", connections=1, read_seconds=20)
    idle = [connect(running.url) for _ in range(SPARE + 1)]
    try:
        until(lambda: open_connections(running) == SPARE + 1)
        with connect(running.url) as connection:
            found = rest(connection)
        assert found.startswith(b"HTTP/1.1 503 ")
        assert (
            json.loads(found.partition(b"\r\n\r\n")[2])["error"]["code"] == "too_many_connections"
        )
    finally:
        for each in idle:
            each.close()
    until(lambda: open_connections(running) == 0)
    assert running.http.get("/health").status_code == 200


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "BREW"])
def test_other_methods(running: Running, method: str) -> None:
    status, body = answer(running.url, head(method, PATH, CLOSE))
    assert status == 405
    assert method == "HEAD" or json.loads(body)["error"]["code"] == "method_not_allowed"


def test_a_websocket_is_not_opened(running: Running) -> None:
    lines = ("connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13")
    with connect(running.url) as connection:
        connection.sendall(
            head("GET", "/v1/models", *lines, "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==")
        )
        assert connection.recv(12) == b"HTTP/1.1 200"


def test_a_body_that_waits_to_be_asked_for(running: Running) -> None:
    """Expect: 100-continue with a body that is too large is refused, not asked for."""
    lines = ("expect: 100-continue", f"content-length: {BODY + 1}")
    assert answer(running.url, head("POST", PATH, *lines))[0] == 413


def go_away(url: str, way: int) -> None:
    """Be a client that goes away in one of several ways."""
    connection = connect(url)
    stream = post(PATH, completion(stream=True, max_tokens=900, stop=None, ignore_eos=True))
    match way % 8:
        case 0:
            connection.sendall(b"POST /v1/comp")
        case 1:
            connection.sendall(head("POST", PATH, "content-length: 100") + b"{")
        case 2:
            connection.sendall(head("POST", PATH, "transfer-encoding: chunked") + b"5\r\n{")
        case 3:
            connection.sendall(stream)
        case 4:
            connection.sendall(stream)
            connection.recv(64)
        case 5:
            connection.sendall(post(PATH, completion(max_tokens=900, ignore_eos=True)))
        case 6:
            connection.sendall(post("/v1/ancestral/sample", {"model": "long_text", "n": 2}))
        case 7:
            connection.sendall(head("GET", "/metrics") * 3 + stream)
    if way % 3:
        vanish(connection)
    else:
        connection.close()


def holdings(running: Running) -> tuple[int, list[str]]:
    """Return the descriptors and the threads of this process, server and clients."""
    running.http.close()
    running.http = httpx.Client(base_url=running.url, timeout=60)
    running.idle()
    until(lambda: open_connections(running) == 0)
    until(lambda: all(each.calls.pending == 0 for each in running.server.served.values()))
    return len(os.listdir("/proc/self/fd")), names()


def resident() -> float:
    """Return the resident memory of this process, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def clients(running: Running, count: int) -> Iterator[int]:
    """Be many clients, one after another, most of which go away; yield their number so far."""
    for i in range(count):
        go_away(running.url, i)
        if i % 25 == 0:
            answered = running.http.post(PATH, json=completion())
            assert answered.status_code in (200, 429), answered.text
        yield i + 1


def test_nothing_is_left_of_clients_that_go_away(running: Running) -> None:
    expected = running.http.post(PATH, json=completion()).json()["choices"]
    # Threads of pools are started when they are first needed.
    for _ in clients(running, 48):
        pass
    before = holdings(running)
    for _ in clients(running, 300):
        pass
    descriptors, threads = holdings(running)
    assert descriptors <= before[0]
    assert len(threads) <= len(before[1]) + 2
    assert running.http.post(PATH, json=completion()).json()["choices"] == expected


@pytest.mark.slow
def test_memory_stays_flat(running: Running) -> None:
    """10,000 clients: less than 1 MB in 1,000, after the first 2,000."""
    for _ in clients(running, 2000):
        pass
    before, begin = holdings(running), resident()
    for _ in clients(running, 8000):
        pass
    descriptors, _ = holdings(running)
    assert descriptors <= before[0]
    assert (resident() - begin) / 8 < 1
