"""TCP connections: how many there may be, and how long each may wait for its client."""

import socket
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from ancestral.serve.answers import ErrorBody, Problem

SPARE = 128
"""Connections beyond the limit of requests, for refusals and for checks of health."""
_FULL = ErrorBody(
    error=Problem(
        message="too many connections; try again later",
        type="unavailable_error",
        code="too_many_connections",
    )
).model_dump_json()
_REFUSAL = (
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
    f"connection: close\r\ncontent-length: {len(_FULL)}\r\n\r\n{_FULL}"
).encode()


class Connection(H11Protocol):
    """A connection that is closed if its client neither completes a request nor reads.

    uvicorn itself closes only connections on which nothing arrives after a response.
    """

    most: int
    """Largest number of connections; `limited` sets it."""

    def connection_made(self, transport: Any) -> None:
        """Begin a connection, or refuse it if there are too many."""
        super().connection_made(transport)
        # asyncio does so only for sockets that were made for TCP by number. Without it the body of
        # a response, and each event of a stream, waits for 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._since: float = self.loop.time()
        self._last: object = None
        self._unsent = 0
        if len(self.connections) > self.most:
            transport.write(_REFUSAL)
            transport.close()

    def sweep(self, now: float, seconds: float) -> None:
        """Close the connection if its client has made no progress.

        A client makes progress when a request is complete, when it reads, and while the server
        works on its request.

        Args:
            now: time of the event loop.
            seconds: longest time without progress.
        """
        unsent = self.transport.get_write_buffer_size()
        if unsent and (self.flow.write_paused or self.transport.is_closing()):
            progress = unsent < self._unsent
        else:
            working = self.cycle is not None and not self.cycle.response_complete
            progress = working or self.cycle is not self._last
        self._unsent, self._last = unsent, self.cycle
        if progress:
            self._since = now
        elif now - self._since > seconds:
            self.transport.abort()


def limited(most: int) -> type[Connection]:
    """Return the class of connections of which there may be a number."""
    return type("Connection", (Connection,), {"most": most})
