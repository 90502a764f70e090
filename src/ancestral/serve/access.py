"""One line of JSON for each request on standard error, its id, and its metrics."""

import asyncio
import time
import uuid
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ancestral.excerpts import cut
from ancestral.serve import log_lines
from ancestral.serve.answers import error_response
from ancestral.serve.metrics import Metrics
from ancestral.serve.refused import Refused, stopping

REQUEST_ID = "x-request-id"
NOTES = "ancestral.notes"
"""Entry of an ASGI scope: what a route adds to the line of its request."""
_LONGEST_ID = 128
_CONTENT = 4096
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
"""Methods that metrics name; a client may send any word."""


class Access:
    """ASGI middleware that names, counts and logs every request."""

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        log: log_lines.Write = log_lines.write,
        *,
        contents: bool = False,
    ) -> None:
        """Wrap an application.

        Args:
            app: the application.
            metrics: where requests are counted.
            log: function that writes a line.
            contents: whether lines have the beginning of each body.
        """
        self._app, self._metrics, self._log, self._contents = app, metrics, log, contents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, name = time.monotonic(), _id_of(scope)
        notes = scope[NOTES] = dict[str, Any]()
        status, body = 0, bytearray()

        async def reading() -> Message:
            message = await receive()
            if self._contents and len(body) < _CONTENT:
                body.extend(message.get("body", b"")[: _CONTENT - len(body)])
            return message

        async def naming(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = name
            await send(message)

        try:
            await self._app(scope, reading, naming)
        except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - see `_refusal_of`
            refused = _refusal_of(error, notes, name)
            if not status:
                await error_response(scope["path"], refused)(scope, receive, naming)
        finally:
            if self._contents:
                notes["body"] = body.decode(errors="replace")
            self._count(scope, status, time.monotonic() - begin, {"id": name} | notes)

    def _count(self, scope: Scope, status: int, seconds: float, notes: dict[str, Any]) -> None:
        """Count a request, and write its line."""
        route = getattr(scope.get("route"), "path", "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(route, method, str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        line = {
            "method": cut(scope["method"], _LONGEST_ID),
            "path": cut(scope["path"]),
            "status": status,
            "seconds": round(seconds, 6),
        }
        self._log(line | notes)


def _id_of(scope: Scope) -> str:
    """Return the id of a request: the client's own, so that its log and ours can be joined."""
    given = Headers(scope=scope).get(REQUEST_ID, "")
    fine = given.isascii() and given.isprintable() and 0 < len(given) <= _LONGEST_ID
    return given if fine else uuid.uuid4().hex


def _refusal_of(error: BaseException, notes: dict[str, Any], name: str) -> Refused:
    """Return the error for the client of a request that failed; its log line gets the rest."""
    if isinstance(error, asyncio.CancelledError):
        # The time of a drain is over.
        notes["cut_off"] = True
        return stopping()
    notes["error"] = log_lines.trace(error)
    return Refused(500, f"internal error; its request id is {name}")
