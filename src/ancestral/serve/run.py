"""Run the server of a process: its socket, and what signals do."""

import asyncio
import contextlib
import gc
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from ipaddress import ip_address
from types import FrameType

import uvicorn
from sse_starlette.sse import AppStatus

from ancestral.errors import InvalidInput
from ancestral.serve.app import create_app
from ancestral.serve.connection import SPARE, Connection, limited
from ancestral.serve.log_lines import LineHandler
from ancestral.serve.server import Server

LAST = 2.0
"""Seconds before the end of a drain at which requests that have not ended get an error."""
_TICKS = 10
"""Ticks of uvicorn, of 0.1 s each, between two sweeps of the connections."""
_FILES = 512
"""Files that a process has open apart from its connections, at most."""


class HttpServer(uvicorn.Server):
    """A server that drains at the first signal and stops at the second.

    New requests are refused at the first one, and those that have begun go on for the seconds of
    the setting `drain_seconds`. A second one ends the process at once.
    """

    def __init__(self, server: Server, said: Callable[[str], None]) -> None:
        """Prepare the server.

        Args:
            server: bundles and limits.
            said: function that shows a message to the person who started the server.
        """
        settings = server.settings
        super().__init__(
            uvicorn.Config(
                create_app(server),
                # One parser and one loop everywhere, whatever else is installed.
                http=limited(settings.connections + SPARE),
                loop="asyncio",
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(settings.drain_seconds + LAST)),
            )
        )
        self._server, self._said = server, said
        self._signal: int | None = None
        # sse-starlette ends every stream at the first signal otherwise.
        AppStatus.disable_automatic_graceful_drain()  # type: ignore[no-untyped-call]

    async def on_tick(self, counter: int) -> bool:
        """Close connections whose clients do nothing, and stop if a bundle cannot be opened."""
        if counter % _TICKS == 0:
            now = asyncio.get_running_loop().time()
            for connection in tuple(self.server_state.connections):
                if isinstance(connection, Connection):
                    connection.sweep(now, self._server.settings.read_seconds)
        if self._server.refusal is not None:
            self.should_exit = True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, and stop at the second."""
        if self.should_exit:
            os._exit(128 + sig)
        # No more than this: the signal may have interrupted code that holds a lock or writes.
        self._signal, self.should_exit = sig, True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let requests end for some time, then tell those that have not ended."""
        seconds = self._server.settings.drain_seconds
        self._stop(drop=False)
        last = asyncio.get_running_loop().call_later(seconds, self._stop, True)
        if self._signal is not None:
            name = signal.Signals(self._signal).name
            self._said(f"{name}: requests have {seconds:g} s to end; a second signal stops now")
        await super().shutdown(sockets)
        last.cancel()

    def _stop(self, drop: bool) -> None:
        for each in self._server.served.values():
            each.stop(drop=drop)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: address, "127.0.0.1" for this machine only.
        port: port; 0 lets the system choose.

    Raises:
        InvalidInput: the address does not exist here, or the port is taken.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address, family=family, backlog=2048, reuse_port=False)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "not an address"
        raise InvalidInput(
            f"--host, --port: cannot listen on {host}:{port} ({reason}); choose another "
            f"address, or port 0 for a free one"
        ) from error


def serve(server: Server, host: str, port: int, said: Callable[[str], None]) -> None:
    """Serve until a signal ends the process.

    Args:
        server: bundles and limits.
        host: address to listen on.
        port: port to listen on.
        said: function that shows a message to the person who started the server.

    Raises:
        InvalidInput: the address cannot be listened on.
        AncestralError: a bundle cannot be opened.
    """
    with listen(host, port) as listening:
        _allow_files(server.settings.connections + SPARE + _FILES)
        logging.getLogger().addHandler(LineHandler(logging.WARNING))
        address, number, *_ = listening.getsockname()
        shown = f"[{host}]" if ":" in host else host
        said(f"serving {', '.join(server.served)} on http://{shown}:{number}")
        if not ip_address(address).is_loopback:
            said(
                f"--host {host}: other machines can reach this server; docs/serving.md says what "
                f"to put before it"
            )
        _collect_seldom()
        http = HttpServer(server, said)
        http.run(sockets=[listening])
    if server.refusal is not None:
        raise server.refusal
    if any(each.running for each in server.served.values()):
        # A thread that is inside a runtime cannot be ended, and the interpreter would wait for it.
        sys.stderr.flush()
        os._exit(0)


def _collect_seldom() -> None:
    """Let Python look for cycles of objects seldom, and only among those made from now on.

    It keeps all threads waiting while it looks, the event loop too. A body of 16 MiB of short lists
    makes millions of objects: parsing one takes 1.1 s with these numbers, and 2.5 s without them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def _allow_files(count: int) -> None:
    """Let the process open so many files, if the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
