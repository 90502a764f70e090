"""Settings of a server: how bundles are opened, and every limit, with its default."""

from dataclasses import dataclass

from ancestral.engine import budget
from ancestral.serve.keys import NO_KEYS, Keys
from ancestral.threads import ThreadCount


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How bundles are opened, and what a server refuses.

    Attributes:
        backend: backend of all bundles.
        device: device of all bundles.
        threads: CPU threads of each bundle, as in `Engine.load`.
        slots: requests of a bundle that are drawn at the same time; None chooses by memory.
        prefix_memory: most bytes of caches that a bundle keeps for prompts that begin alike.
        queue: requests of a bundle that may wait for a slot, and calls that may wait for its
            thread; more get 429. Where nothing waits, one HTTP request may have more rows.
        rows: most rows of one HTTP request, prompts times n.
        n: most choices of a prompt.
        k: most latents of each event of a bound.
        prompt: most values of a prompt; None means the context of the model.
        body: most bytes of the body of a request; larger ones get 413.
        bodies: most bytes of the bodies of all requests at the same time, as parsing takes many
            times as much memory; more get 503, but for the only body, and those of at most 64 KiB.
        read_seconds: seconds in which the head of a request must arrive, and then its body, which
            gets 408; and after which a client that does not read is cut off.
        seconds: seconds after which a request is cancelled; then 408.
        connections: HTTP requests that are handled at the same time; more get 503. There may be
            128 more connections without a request.
        drain_seconds: seconds that requests have left after the first SIGTERM.
        keys: API keys; without any, every client may call.
        origins: origins of other sites whose pages may call (CORS).
        log_contents: whether log lines have the beginnings of the bodies of requests.
    """

    backend: str = "onnxruntime"
    device: str = "cpu"
    threads: ThreadCount = None
    slots: int | None = None
    prefix_memory: int = budget.PREFIXES
    queue: int = 256
    rows: int = 1024
    n: int = 128
    k: int = 10**6
    prompt: int | None = None
    body: int = 2**24
    bodies: int = 2**26
    read_seconds: float = 30.0
    seconds: float = 600.0
    connections: int = 1024
    drain_seconds: float = 30.0
    keys: Keys = NO_KEYS
    origins: tuple[str, ...] = ()
    log_contents: bool = False
