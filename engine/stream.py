"""`Engine.stream`: requests in slots that are refilled as rows end, read as an iterator."""

from collections.abc import AsyncIterable, Generator, Iterable, Iterator
from types import TracebackType

from ancestral.arrays import LARGEST, shown
from ancestral.engine import arguments, budget, step_graph
from ancestral.engine.desk import Control, Delta, Desk
from ancestral.engine.request import Request
from ancestral.engine.runner import Runner
from ancestral.engine.speculation import Speculate
from ancestral.engine.speculation.lone_row import LoneRow
from ancestral.errors import InvalidInput
from ancestral.scalars import whole
from ancestral.step_tensors import STEP_GRAPHS

_END = object()


class RequestStream(Control, Iterator[Delta]):
    """The deltas of requests, as they come. Made by `Engine.stream`.

    Requests are read when slots are free, so there are never more of them in memory than slots, and
    a consumer that stops reading stops the stream. Its memory is released at its end, by `close`,
    by the end of a `with` block, and when nothing refers to it any longer.
    """

    def __init__(self, desk: Desk, requests: Iterator[Request]) -> None:
        """Read requests into the slots of a desk."""
        super().__init__(desk)
        self._deltas = _deltas(desk, requests)

    def __next__(self) -> Delta:
        return next(self._deltas)

    def __enter__(self) -> "RequestStream":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the stream; requests that have not ended are dropped."""
        self._deltas.close()


def _deltas(desk: Desk, requests: Iterator[Request]) -> Generator[Delta, None, None]:
    # Not a method: a generator that held its stream would be kept by it for the cycle collector.
    with desk.lease:
        more = True
        while more or not desk.idle:
            while more and desk.room:
                request = next(requests, _END)
                more = request is not _END
                if more:
                    desk.offer(request)
            yield from desk.round()


def stream(
    runner: Runner,
    requests: Iterable[Request],
    slots: int | None = None,
    *,
    text: bool = True,
    prefix_memory: int = budget.PREFIXES,
    speculate: Speculate = None,
) -> RequestStream:
    """Draw requests in slots, and return what each one drew as it comes.

    A request waits for a free slot; a row that ends gives its slot to the next request at once. A
    long prompt is run in chunks between the steps of other rows. The values of a request are those
    that `generate` and `sample` draw for its (seed, index), and do not depend on the other requests
    or the number of slots, except at near ties. A prompt that begins like another one, which is
    being drawn or was drawn recently, takes that part from its cache.

    Args:
        runner: the engine.
        requests: requests; a generator is read when slots are free. While it waits for its next
            request, all rows wait; use `astream` where requests come from elsewhere.
        slots: number of requests that are drawn at the same time; None chooses by memory, 16 at
            most. It is fixed, and memory is taken for all of them.
        text: whether deltas have text, if the bundle has a tokenizer.
        prefix_memory: most bytes of the caches that are kept of requests whose slots others have
            taken, so that later prompts with the same beginning need not be prefilled again; 0
            keeps none. What is in the slots is shared at no cost.
        speculate: proposer of values, as in `sample`. A request is drawn in blocks of proposals
            while it is the only one in the slots; one with penalties is always drawn step by step.

    Returns:
        An iterator of `Delta`, with `close`, `cancel(request)` and `counts`.

    Raises:
        InvalidInput: an argument is wrong, or so many slots do not fit in memory. A wrong request
            is refused by the iterator when it is read.
        NotADistribution: a log-probability is NaN. Raised by the iterator.
        BundleError: the weights have changed since the bundle was opened, or a drawn value is not a
            level. Raised by the iterator.

    For example:

        requests = [Request(tokenizer.encode(text), max_new=40) for text in texts]
        for delta in engine.stream(requests, slots=8):
            print(delta.request, delta.text, delta.ended)
    """
    if isinstance(requests, AsyncIterable) or not isinstance(requests, Iterable):
        raise InvalidInput(f"requests: expected an iterable of Request, got {shown(requests)}")
    return RequestStream(
        desk_of(runner, requests, slots, (text, prefix_memory), speculate), iter(requests)
    )


def desk(
    runner: Runner,
    slots: int | None = None,
    *,
    text: bool = True,
    prefix_memory: int = budget.PREFIXES,
    speculate: Speculate = None,
) -> Desk:
    """Return slots to which requests can be offered at any time, for servers.

    Args:
        runner: the engine.
        slots: as in `stream`.
        text: as in `stream`.
        prefix_memory: as in `stream`.
        speculate: as in `stream`.

    Returns:
        A `Desk`, with `offer(request)`, `cancel(number)`, `round()`, `room`, `idle` and `counts`.

    Raises:
        InvalidInput: as in `stream`.
    """
    return desk_of(runner, None, slots, (text, prefix_memory), speculate)


def desk_of(
    runner: Runner,
    requests: object,
    slots: object,
    others: tuple[object, object],
    speculate: Speculate,
) -> Desk:
    """Return the desk of a stream: with the user's number of slots, or one that fits in memory.

    Args:
        runner: the engine.
        requests: the requests, if they are known.
        slots: as in `stream`.
        others: `text` and `prefix_memory`, as in `stream`.
        speculate: as in `stream`.

    Raises:
        InvalidInput: `slots` is not a positive integer, or does not fit; `text` is not a bool;
            `prefix_memory` is not an integer of 0 or more, or is absurdly large; or the proposer
            does not fit the model.
    """
    text, prefix_memory = others
    bytes_kept = whole("prefix_memory", prefix_memory, 0, LARGEST)
    known = requests if isinstance(requests, list | tuple) else None
    graphs = runner.bundle.manifest.graphs
    if known is None:
        # A bundle may lack the widest graphs, and a stream may not need them.
        graph = [name for name in STEP_GRAPHS if name in graphs][-1]
    else:
        graph = STEP_GRAPHS[0]
        for each in known:
            if isinstance(each, Request):
                needed = step_graph.graph_of(each.sampling, graphs, each.logprobs)
                graph = step_graph.wider(graph, needed)
    signature = runner.session(graph).signature
    backend = (runner.backend.device, runner.backend.room)
    most = budget.SLOTS if known is None else max(1, len(known))
    size = budget.slots(signature, backend, slots, most)
    shown_text = arguments.flag("text", text)
    lone = None if speculate is None else LoneRow(runner, speculate)
    return Desk(runner, size, text=shown_text, prefix_memory=bytes_kept, lone=lone)
