"""What every request passes first: API keys, and limits on requests and their bodies."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ancestral.serve.answers import error_response
from ancestral.serve.refused import Refused
from ancestral.serve.settings import Settings

OPEN = frozenset({"/", "/health", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no key: they tell nothing but whether the server is ready."""
SMALL = 2**16
"""Bytes of a body that is never one too many, so that large ones do not keep out the others."""
SCOPE = "ancestral.scope"
"""Entry of an ASGI scope: the name of the key, which is the scope of shared prefixes."""


class Guard:
    """ASGI middleware that refuses requests before they reach a route."""

    def __init__(self, app: ASGIApp, settings: Settings, open_paths: frozenset[str]) -> None:
        """Wrap an application.

        Args:
            app: the application.
            settings: limits of the server.
            open_paths: paths that need no key.
        """
        self._app, self._settings, self._open = app, settings, open_paths
        self._running = 0
        self._total = _Total()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refused as refused:
            await error_response(scope["path"], refused)(scope, receive, send)
            return
        arriving = _Arriving(receive, self._settings, self._total)
        self._running += 1
        try:
            await self._app(scope, arriving, send)
        finally:
            self._running -= 1
            arriving.drop()

    def _check(self, scope: Scope) -> None:
        """Refuse a request by its headers.

        Raises:
            Refused: its key is not valid, its body is too large, or there are too many requests.
        """
        headers, settings = Headers(scope=scope), self._settings
        scope[SCOPE] = ""
        if settings.keys and scope["path"] not in self._open and scope["method"] != "OPTIONS":
            kind, _, key = headers.get("authorization", "").partition(" ")
            name = settings.keys.scope(key.strip()) if kind.lower() == "bearer" else None
            if name is None:
                raise Refused(
                    401,
                    "Authorization: expected 'Bearer KEY' with a valid API key",
                    headers={"WWW-Authenticate": "Bearer"},
                )
            scope[SCOPE] = name
        size = headers.get("content-length", "0")
        if size.isdecimal() and int(size) > settings.body:
            raise _too_large(settings.body)
        if self._running >= settings.connections and scope["path"] not in self._open:
            raise Refused(
                503,
                f"{self._running} requests are handled at the same time, and no more are accepted",
                code="too_many_connections",
                headers={"Retry-After": "1"},
            )


class _Total:
    """Bytes of the bodies of all requests that are handled."""

    size = 0


class _Arriving:
    """A `receive` that refuses a body which is too large or too slow, or one too many.

    Attributes:
        size: bytes of the body that have arrived.
    """

    def __init__(self, receive: Receive, settings: Settings, total: _Total) -> None:
        self.size = 0
        self._receive, self._settings, self._total = receive, settings, total
        self._done = False
        self._deadline = asyncio.get_running_loop().time() + settings.read_seconds

    async def __call__(self) -> Message:
        if self._done:
            return await self._receive()
        settings = self._settings
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            raise Refused(
                408,
                f"the body did not arrive within {settings.read_seconds:g} s",
                headers={"Connection": "close"},
            ) from error
        if message["type"] == "http.request":
            arrived = len(message.get("body", b""))
            self.size += arrived
            self._total.size += arrived
            self._done = not message.get("more_body", False)
            if self.size > settings.body:
                raise _too_large(settings.body)
            if self.size > SMALL and self.size < self._total.size > settings.bodies:
                raise Refused(
                    503,
                    f"the bodies of all requests have more than {settings.bodies:,} bytes; try "
                    f"again later, or send less at a time",
                    code="too_many_bytes",
                    headers={"Connection": "close", "Retry-After": "1"},
                )
        return message

    def drop(self) -> None:
        """Take the body out of the total."""
        self._total.size -= self.size


def _too_large(limit: int) -> Refused:
    return Refused(
        413,
        f"body: expected at most {limit:,} bytes; send less at a time",
        headers={"Connection": "close"},
    )
