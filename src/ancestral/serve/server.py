"""What the routes of a server share: its bundles, its settings, and how a request waits."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from fastapi import Request

from ancestral import engine
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted
from ancestral.serve.access import NOTES
from ancestral.serve.guard import SCOPE
from ancestral.serve.metrics import Metrics
from ancestral.serve.refused import Refused
from ancestral.serve.rows import Rows
from ancestral.serve.served import Served
from ancestral.serve.settings import Settings

T = TypeVar("T")
_LISTED = 20
_PAUSE = 0.05
"""Seconds between two looks at the engines that are being opened."""


class ClientGone(Exception):
    """The client closed its connection before the response."""


@dataclass(frozen=True, slots=True)
class Server:
    """The bundles that are served, and the limits.

    Attributes:
        served: bundles by name.
        settings: limits.
        metrics: metrics.
        verifying: held while a bundle is verified, one at a time.
    """

    served: Mapping[str, Served]
    settings: Settings
    metrics: Metrics
    verifying: threading.Lock = field(default_factory=threading.Lock)

    @property
    def hidden(self) -> dict[str, str]:
        """Paths that no client may see, with the names that replace them."""
        return {str(each.path): name for name, each in self.served.items()}

    @property
    def ready(self) -> bool:
        """Whether every engine is open and warm."""
        return all(each.thread.state == "ready" for each in self.served.values())

    @property
    def refusal(self) -> BaseException | None:
        """Why a bundle could not be opened at the start; None if all were opened."""
        refusals = (each.thread.refusal for each in self.served.values())
        return next((each for each in refusals if each is not None), None)

    async def until_ready(self) -> None:
        """Wait until every engine is open and warm, where something else starts the application.

        Raises:
            AncestralError: a bundle could not be opened at the start.
        """
        while not self.ready:
            if self.refusal is not None:
                raise self.refusal
            await asyncio.sleep(_PAUSE)

    def find(self, name: str) -> Served:
        """Return a bundle by its name.

        Raises:
            Refused: the bundle is not served; the error names those that are.
        """
        if name not in self.served:
            names = ", ".join(list(self.served)[:_LISTED])
            raise Refused(
                404,
                f"model: expected one of the bundles {names}, got {quoted(name)}",
                code="model_not_found",
                param="model",
            )
        return self.served[name]

    def check_rows(self, count: int, what: str) -> None:
        """Check the number of rows of one HTTP request.

        Raises:
            Refused: there are too many.
        """
        if count > self.settings.rows:
            raise Refused(
                400,
                f"{what}: expected at most {self.settings.rows} in one request, got {count}",
                param=what,
            )

    def check_latents(self, k: int) -> None:
        """Check the number of latents of each event of a bound.

        Raises:
            InvalidInput: there are too many.
        """
        if k > self.settings.k:
            raise InvalidInput(
                f"k: expected at most {self.settings.k} latents of each event, got {k}"
            )

    @asynccontextmanager
    async def drawn(
        self, served: Served, requests: Sequence[engine.Request]
    ) -> AsyncIterator[Rows]:
        """Draw requests in slots; the end of the block frees those of them that have not ended.

        Raises:
            Refused: the queue is full, or the engine has failed.
        """
        rows = Rows(requests)
        served.thread.submit(rows)
        try:
            yield rows
        finally:
            served.thread.cancel(rows)

    async def waited(self, request: Request, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of some work, unless the client goes away or the time is over.

        Args:
            request: the HTTP request, whose body has been read.
            work: the work; it is cancelled if no client waits for it.

        Raises:
            ClientGone: the client closed the connection.
            Refused: the time of a request is over.
        """
        working = asyncio.ensure_future(work)
        leaving = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait(
                {working, leaving},
                timeout=self.settings.seconds,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if working.done():
                return working.result()
            if leaving.done():
                # The body was too slow, if it has not been read.
                leaving.result()
                raise ClientGone
            raise over(self.settings.seconds)
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.wait({working, leaving})
            for task in (working, leaving):
                if not task.cancelled():
                    # Read, so that an error without a client is not logged.
                    task.exception()


def over(seconds: float) -> Refused:
    """Return the refusal of a request whose time is over."""
    return Refused(408, f"the request took more than {seconds:g} s and was cancelled")


def server_of(request: Request) -> Server:
    """Return the server of a request."""
    found: Server = request.app.state.server
    return found


def scope_of(request: Request) -> str:
    """Return the scope in which a request shares the beginnings of its prompts."""
    return str(request.scope[SCOPE])


def note(request: Request, **fields: object) -> None:
    """Add fields to the log line of a request."""
    request.scope[NOTES] |= fields


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
