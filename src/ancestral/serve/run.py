"""Run the server of a process: its socket, and what signals do."""

import signal
import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn
from sse_starlette.sse import AppStatus

from ancestral.errors import InvalidInput
from ancestral.serve.app import create_app
from ancestral.serve.engine_thread import EngineThread
from ancestral.serve.server import Server

LAST = 2.0
"""Seconds before the end of a drain at which requests that have not ended are told."""
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class HttpServer(uvicorn.Server):
    """A server that drains at the first signal and stops at the second.

    New requests are refused at the first one, and those that have begun go on for the seconds of
    the setting `drain_seconds`.
    """

    def __init__(self, server: Server, said: Callable[[str], None]) -> None:
        """Prepare the server.

        Args:
            server: bundles and limits.
            said: function that shows a message to the person who started the server.
        """
        seconds = server.settings.drain_seconds
        super().__init__(
            uvicorn.Config(
                create_app(server),
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=max(1, round(seconds + LAST)),
            )
        )
        self._server, self._said = server, said
        # sse-starlette ends every stream at the first signal otherwise.
        AppStatus.disable_automatic_graceful_drain()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain at the first signal, and stop at the second."""
        threads = [each.thread for each in self._server.served.values()]
        if self.should_exit:
            self.force_exit = True
            self._said("stopping now")
            stop = threading.Thread(target=_stop, args=(threads, True), daemon=True)
        else:
            seconds = self._server.settings.drain_seconds
            name = signal.Signals(sig).name
            self._said(f"{name}: requests have {seconds:g} s to end; a second signal stops now")
            stop = threading.Thread(target=_stop, args=(threads, False), daemon=True)
            last = threading.Timer(seconds, _stop, (threads, True))
            last.daemon = True
            last.start()
        # In a thread, because the signal may have interrupted one that holds their locks.
        stop.start()
        self.should_exit = True


def _stop(threads: list[EngineThread], drop: bool) -> None:
    for thread in threads:
        thread.stop(drop=drop)


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
        listening = socket.create_server(address, family=family, backlog=2048, reuse_port=False)
    except OSError as error:
        raise InvalidInput(
            f"--host, --port: cannot listen on {host}:{port} ({error.strerror or error}); choose "
            f"another port, or 0 for a free one"
        ) from error
    # The head and the body of a response are written one after the other. asyncio sets this only
    # on sockets that name their protocol, and without it a body waits 40 ms for the client's ACK.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def serve(server: Server, host: str, port: int, said: Callable[[str], None]) -> None:
    """Serve until a signal ends the process.

    Args:
        server: bundles and limits.
        host: address to listen on.
        port: port to listen on.
        said: function that shows a message to the person who started the server.

    Raises:
        InvalidInput: the address cannot be listened on.
    """
    with listen(host, port) as listening:
        number = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        said(f"serving {', '.join(server.served)} on http://{shown}:{number}")
        if host not in LOOPBACK:
            said(
                f"--host {host}: other machines can reach this server; docs/serving.md says what "
                f"to put before it"
            )
        HttpServer(server, said).run(sockets=[listening])
