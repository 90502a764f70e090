"""A client that streams completions which arrive at given times, and notes when values come."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import Request

PATH = "/v1/completions"
_EVENT = b"data: "


@dataclass(slots=True)
class Heard:
    """What a client got for one request.

    Attributes:
        status: HTTP status; 0 if the connection failed.
        times: time of each event with values, in seconds after the request arrived.
        values: number of values that were drawn.
        log_p: log-probabilities of the values, in nats, if they were asked for.
        ended: whether the stream had its last line.
    """

    status: int = 0
    times: list[float] = field(default_factory=list)
    values: int = 0
    log_p: list[float] = field(default_factory=list)
    ended: bool = False

    @property
    def complete(self) -> bool:
        """Whether the request has its whole answer."""
        return self.status == 200 and self.ended


def body_of(model: str, request: Request, *, logprobs: bool = False) -> dict[str, Any]:
    """Return a request of the engine as one for a streamed completion; its index must be 0."""
    body = {
        "model": model,
        "prompt": np.asarray(request.prompt).tolist(),
        "max_tokens": request.max_new,
        "seed": request.seed,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return body | ({"logprobs": 0} if logprobs else {})


async def complete(url: str, body: dict[str, Any], arrived: float) -> Heard:
    """Send a request, and return what comes back.

    Args:
        url: address of the server.
        body: body of the request.
        arrived: time of `time.perf_counter` from which times count.
    """
    address, heard, content = urlsplit(url), Heard(), json.dumps(body).encode()
    try:
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
    except OSError:
        return heard
    try:
        lines = (f"POST {PATH} HTTP/1.1", "host: bench", f"content-length: {len(content)}")
        writer.write("\r\n".join([*lines, "connection: close", "", ""]).encode() + content)
        heard.status = int((await reader.readline()).split()[1])
        async for line in reader:
            if line.startswith(_EVENT):
                _note(heard, line.removeprefix(_EVENT), time.perf_counter() - arrived)
    except (OSError, ValueError, IndexError):
        heard.ended = False
    finally:
        writer.close()
    return heard


def _note(heard: Heard, data: bytes, at: float) -> None:
    """Note an event."""
    if data.startswith(b"[DONE]"):
        heard.ended = True
        return
    event = json.loads(data)
    if event.get("usage"):
        heard.values = event["usage"]["completion_tokens"]
    for choice in event.get("choices", ()):
        heard.times.append(at)
        if choice["logprobs"] is not None:
            heard.log_p += choice["logprobs"]["token_logprobs"]


async def arriving(
    url: str, bodies: Sequence[dict[str, Any]], arrivals: NDArray[np.float64]
) -> tuple[list[Heard], float]:
    """Send each request when it arrives, whatever the server does.

    Returns:
        What came back, and the seconds until the last answer ended.
    """
    begin = time.perf_counter()

    async def one(body: dict[str, Any], at: float) -> Heard:
        await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
        return await complete(url, body, begin + at)

    found = await asyncio.gather(*map(one, bodies, arrivals.tolist()))
    return found, time.perf_counter() - begin
