"""Clients that write bytes to a socket: whole requests, parts of them, and nothing."""

import json
import socket
import struct
import time
from typing import Any
from urllib.parse import urlsplit

SECONDS = 30.0
"""Time after which a client has waited in vain."""


def connect(url: str, *, buffer: int | None = None) -> socket.socket:
    """Return a connection to a server; `buffer` is the size of its receive buffer, in bytes."""
    address = urlsplit(url)
    made = socket.socket()
    if buffer is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.settimeout(SECONDS)
    made.connect((address.hostname, address.port))
    return made


def head(method: str, path: str, *lines: str) -> bytes:
    """Return the head of a request."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: test", *lines, "", ""]).encode()


def post(path: str, body: Any, *lines: str) -> bytes:
    """Return a request with a body, as JSON."""
    content = json.dumps(body).encode()
    return head("POST", path, f"content-length: {len(content)}", *lines) + content


def rest(connection: socket.socket) -> bytes:
    """Return all that arrives until the server closes the connection."""
    parts = []
    try:
        while part := connection.recv(2**16):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def answer(url: str, content: bytes) -> tuple[int, bytes]:
    """Return the status and the rest of what a server answers before it closes the connection."""
    with connect(url) as connection:
        connection.sendall(content)
        found = rest(connection)
    return int(found.split(b" ", 2)[1]), found.partition(b"\r\n\r\n")[2]


def closed_after(connection: socket.socket) -> float:
    """Return the seconds until the server closes a connection."""
    begin = time.monotonic()
    rest(connection)
    return time.monotonic() - begin


def vanish(connection: socket.socket) -> None:
    """Close a connection as a machine that is switched off and on again: with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
