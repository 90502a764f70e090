"""What every request passes first: API keys, and limits on requests and their bodies."""

import asyncio

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ancestral.serve.answers import error_response
from ancestral.serve.refused import Refused
from ancestral.serve.settings import Settings

OPEN = frozenset({"/", "/health", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no key: they tell nothing but whether the server is ready."""
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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            self._check(scope)
        except Refused as refused:
            await error_response(scope["path"], refused)(scope, receive, send)
            return
        self._running += 1
        try:
            await self._app(scope, self._bounded(receive), send)
        finally:
            self._running -= 1

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

    def _bounded(self, receive: Receive) -> Receive:
        """Return a `receive` that refuses a body which is too large or too slow."""
        settings, got, done = self._settings, 0, False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + settings.read_seconds

        async def bounded() -> Message:
            nonlocal got, done
            if done:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError as error:
                raise Refused(
                    408,
                    f"the body did not arrive within {settings.read_seconds:g} s",
                    headers={"Connection": "close"},
                ) from error
            if message["type"] == "http.request":
                got += len(message.get("body", b""))
                done = not message.get("more_body", False)
                if got > settings.body:
                    raise _too_large(settings.body)
            return message

        return bounded


def _too_large(limit: int) -> Refused:
    return Refused(
        413,
        f"body: expected at most {limit:,} bytes; send less at a time",
        headers={"Connection": "close"},
    )
