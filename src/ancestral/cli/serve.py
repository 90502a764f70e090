"""`ancestral serve`: bundles over HTTP."""

import math
import re
from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli import options
from ancestral.cli.installed import require
from ancestral.cli.output import say
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted

_PACKAGES = ("fastapi", "uvicorn", "sse_starlette", "prometheus_client")
_network = options.panel("Network")
_limit = options.panel("Limits")
_DAY = 86400


def serve(  # noqa: PLR0913 - the options of a command
    bundles: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE", help="Bundle folders; clients use their names."),
    ],
    host: Annotated[
        str, _network(metavar="ADDRESS", help="Address to listen on; 0.0.0.0 for all.")
    ] = "127.0.0.1",
    port: Annotated[
        int, _network(metavar="N", min=0, max=65535, help="Port; 0 for a free one.")
    ] = 8000,
    api_key_file: Annotated[
        Path | None,
        _network(
            metavar="FILE",
            help="File with an API key per line; then clients must send one of them.",
        ),
    ] = None,
    origin: Annotated[
        list[str] | None,
        _network(metavar="URL", help="Origin of another site whose pages may call. Repeatable."),
    ] = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    slots: Annotated[
        int | None,
        _limit(metavar="N", min=1, help="Requests of a bundle drawn at once. Default: by memory."),
    ] = None,
    queue: Annotated[
        int, _limit(metavar="N", min=1, help="Requests of a bundle that may wait; more get 429.")
    ] = 256,
    max_rows: Annotated[
        int, _limit(metavar="N", min=1, help="Rows of one HTTP request: prompts times n.")
    ] = 1024,
    max_n: Annotated[int, _limit(metavar="N", min=1, help="Choices of a prompt.")] = 128,
    max_k: Annotated[int, _limit(metavar="N", min=1, help="Latents of each event of a bound.")] = 10
    ** 6,
    max_prompt: Annotated[
        int | None,
        _limit(metavar="N", min=1, help="Values of a prompt. Default: the model's context."),
    ] = None,
    max_body: Annotated[int, _limit(metavar="BYTES", min=1, help="Bytes of a body.")] = 2**24,
    max_bodies: Annotated[
        int,
        _limit(metavar="BYTES", min=1, help="Bytes of all bodies at the same time; then 503."),
    ] = 2**26,
    prefix_memory: Annotated[
        int | None,
        _limit(
            metavar="BYTES",
            min=0,
            help="Bytes of caches that a bundle keeps for prompts that begin alike. Default: 256 "
            "MiB.",
        ),
    ] = None,
    timeout: Annotated[
        float,
        _limit(metavar="SECONDS", min=0.001, max=_DAY, help="Seconds of a request; then 408."),
    ] = 600.0,
    body_timeout: Annotated[
        float,
        _limit(
            metavar="SECONDS",
            min=0.001,
            max=_DAY,
            help="Seconds in which a request must arrive, and without reading by its client.",
        ),
    ] = 30.0,
    max_connections: Annotated[
        int, _limit(metavar="N", min=1, help="HTTP requests at the same time; more get 503.")
    ] = 1024,
    drain: Annotated[
        float,
        _limit(
            metavar="SECONDS", min=0, max=_DAY, help="Seconds that requests have after SIGTERM."
        ),
    ] = 30.0,
    log_contents: Annotated[
        bool,
        options.output_option(
            "--log-contents", help="Also log the beginning of each body. Off: lines hold none."
        ),
    ] = False,
) -> None:
    """Serve bundles over HTTP.

    Speaks OpenAI's completions (/v1/completions) for bundles with text, KServe's inference protocol
    (/v2) and the Python API as JSON (/v1/ancestral) for all. /health answers 200 when all engines
    are warm. SIGTERM lets requests end; a second one stops at once.
    """
    require("serve", _PACKAGES, "serve")
    _check_seconds(timeout, body_timeout, drain)
    from ancestral.engine import budget
    from ancestral.serve.keys import NO_KEYS, Keys
    from ancestral.serve.metrics import Metrics
    from ancestral.serve.run import serve as run
    from ancestral.serve.served import open_all
    from ancestral.serve.server import Server
    from ancestral.serve.settings import Settings

    if device != "cpu" and threads is not None:
        raise InvalidInput("--threads: only used on a CPU; leave it out")
    settings = Settings(
        backend=backend,
        device=device,
        threads=threads,
        slots=slots,
        queue=queue,
        prefix_memory=budget.PREFIXES if prefix_memory is None else prefix_memory,
        rows=max_rows,
        n=max_n,
        k=max_k,
        prompt=max_prompt,
        body=max_body,
        bodies=max_bodies,
        read_seconds=body_timeout,
        seconds=timeout,
        connections=max_connections,
        drain_seconds=drain,
        keys=NO_KEYS if api_key_file is None else Keys.read(api_key_file),
        origins=_origins(origin or []),
        log_contents=log_contents,
    )
    metrics = Metrics()
    run(Server(open_all(bundles, settings, metrics), settings, metrics), host, port, say)


def _check_seconds(*options_: float) -> None:
    """Check that seconds are numbers: in some versions of Typer NaN passes the limits of options.

    Raises:
        InvalidInput: one of them is NaN.
    """
    if any(map(math.isnan, options_)):
        raise InvalidInput("--timeout, --body-timeout, --drain: expected numbers, got nan")


def _origins(texts: list[str]) -> tuple[str, ...]:
    """Return the origins of --origin.

    Raises:
        InvalidInput: one of them is not an origin.
    """
    for text in texts:
        if text != "*" and not re.fullmatch(r"https?://[^\s/?#@]+", text):
            raise InvalidInput(
                f"--origin: expected a scheme and a host, for example https://example.org, or * "
                f"for all, got {quoted(text)}"
            )
    return tuple(texts)
