"""A request of the API, from its body to its answer: at once, or as events while it is computed."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from fastapi import Request
from pydantic import ConfigDict
from sse_starlette import EventSourceResponse
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from ancestral.errors import InvalidInput
from ancestral.serve.answers import error_response, refused_of
from ancestral.serve.api.arrays import Form, encoded
from ancestral.serve.body import Body, read
from ancestral.serve.calls import Report
from ancestral.serve.refused import Refused
from ancestral.serve.served import Served
from ancestral.serve.server import Server, note, over, server_of

INTERVAL = 0.1
"""Seconds between two events of progress, at least."""
PING = 15
"""Seconds between two lines that keep the connection of a stream open."""
Fields = Mapping[str, Any]
"""Fields of an answer by name: arrays and plain values."""


class JobBody(Body):
    """Fields that every body of the API has."""

    model_config = ConfigDict(strict=True, use_attribute_docstrings=True)

    model: str
    """Name of a bundle, one of those of /v1/ancestral/info."""
    arrays: Form = "lists"
    """Form of the arrays in the answer: nested lists, or {"npy": base64 of a file in .npy format}.
    Infinities and NaN, which JSON does not have, are null in lists; an .npy keeps them."""
    stream: bool = False
    """Whether the answer is a stream of server-sent events: `progress` with {"done", "total"} at
    most 10 times a second, then `result` with the answer, or `error` with the body of an error."""


B = TypeVar("B", bound=JobBody)


@dataclass(frozen=True, slots=True)
class Work:
    """What a request asks for, with checked arguments.

    Attributes:
        run: does it, and returns the fields of the answer. It reports its progress, in the event
            loop, to the function that it gets, if there is one.
        events: number of events that it draws or scores.
    """

    run: Callable[[Report | None], Awaitable[Fields]]
    events: int


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about.

    Attributes:
        request: the HTTP request.
        server: the server.
        served: the bundle.
    """

    request: Request
    server: Server
    served: Served

    def in_thread(self, call: Callable[[Report], Fields], events: int) -> Work:
        """Return work that is done in the thread of the bundle's calls.

        Args:
            call: function of a report, which it passes on as the engine's `progress`.
            events: as in `Work`.
        """
        return Work(lambda progress: self.served.calls.run(call, progress), events)

    def refused(self, error: Exception) -> Refused:
        """Return an error as a refusal, in words that hold no path."""
        return refused_of(error, self.server.hidden)


Prepare = Callable[[Target, B], Work]
"""Checks the fields of a body, in a thread, and returns the work that they ask for."""


def fields_of(result: Any) -> dict[str, Any]:
    """Return the fields of a dataclass by name; its values are not copied."""
    return {field.name: getattr(result, field.name) for field in fields(result)}


async def answer(request: Request, method: str, model: type[B], prepare: Prepare[B]) -> Response:
    """Return the response of a request.

    Args:
        request: the HTTP request.
        method: name of the method, for the metrics.
        model: model of its body.
        prepare: function that checks the fields of the body.

    Raises:
        Refused: the body is not valid, the bundle does not exist, or it does not have this method.
        InvalidInput: a field has a wrong value.
        ClientGone: the client closed the connection.
    """
    body, server = await read(request, model), server_of(request)
    target = Target(request, server, server.find(body.model))
    note(request, model=target.served.name)
    work = await run_in_threadpool(prepare, target, body)

    async def done(report: Report | None) -> bytes:
        found = await work.run(report)
        target.served.metrics.events(method, work.events)
        return await run_in_threadpool(encoded, found, body.arrays)

    if body.stream:
        # A client that does not read for the time of a request is given up.
        return EventSourceResponse(
            _events(target, done),
            headers=body.ignored,
            ping=PING,
            send_timeout=server.settings.seconds,
        )
    content = await server.waited(request, done(None))
    return Response(content, headers=body.ignored, media_type="application/json")


async def _events(
    target: Target, work: Callable[[Report | None], Awaitable[bytes]]
) -> AsyncIterator[bytes]:
    """Yield the events of a job. The job is cancelled when the client disconnects."""
    latest, changed = (0, 0), asyncio.Event()

    def report(done: int, total: int) -> None:
        nonlocal latest
        latest = done, total
        changed.set()

    loop = asyncio.get_running_loop()
    end = loop.time() + target.server.settings.seconds
    working = asyncio.ensure_future(work(report))
    working.add_done_callback(_read)
    try:
        while not working.done():
            await _first(working, changed, end - loop.time())
            if working.done():
                break
            if loop.time() >= end or not changed.is_set():
                raise over(target.server.settings.seconds)
            changed.clear()
            content = json.dumps({"done": latest[0], "total": latest[1]}).encode()
            yield _event("progress", content)
            await asyncio.wait({working}, timeout=INTERVAL)
        yield _event("result", working.result())
    except Exception as error:
        refused = target.refused(error)
        note(target.request, error_status=refused.status)
        response = error_response(target.request.url.path, refused)
        yield _event("error", bytes(response.body))
        if not isinstance(error, InvalidInput | Refused):
            raise
    finally:
        working.cancel()


async def _first(working: "asyncio.Future[bytes]", changed: asyncio.Event, seconds: float) -> None:
    """Wait until the work is done, its progress has changed, or the time is over."""
    waiting = asyncio.ensure_future(changed.wait())
    either: set[asyncio.Future[Any]] = {working, waiting}
    try:
        await asyncio.wait(either, timeout=max(0.0, seconds), return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()


def _read(working: "asyncio.Future[bytes]") -> None:
    """Read the error of a job, so that asyncio does not log that of a client which has gone."""
    if not working.cancelled():
        working.exception()


def _event(name: str, content: bytes) -> bytes:
    """Return a server-sent event; JSON has no line breaks."""
    return b"event: " + name.encode() + b"\r\ndata: " + content + b"\r\n\r\n"
