"""The desk: requests wait for slots, and what they draw becomes deltas."""

from collections import deque
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int64

from ancestral.engine.alternatives import Alternatives
from ancestral.engine.drawn import Drawn
from ancestral.engine.request import Ended, Task, task_of
from ancestral.engine.runner import Runner
from ancestral.engine.slots import Slots
from ancestral.engine.speculation import Speculated
from ancestral.engine.speculation.lone_row import LoneRow
from ancestral.engine.stop_text import RowText
from ancestral.scalars import whole


@dataclass(frozen=True, slots=True)
class Delta:
    """What a request has drawn since its last delta.

    Attributes:
        request: position of the request in the input, from 0.
        values: new values, [m], by positions; the last one is the stop id if that ended the row.
            Observed values after the first free one are among them.
        log_p: log p(x_t | x_<t) of the new values under the model itself, in nats, [m].
        log_q: log-probability of the new values under the distribution that they were drawn from,
            with bias, penalties, temperature and filters, in nats, [m]; 0 for observed values.
        ended: None while the request goes on. Its last delta has "stop", "max_new", "context" or
            "cancelled".
        text: new text that later values cannot change; without the stop id's, and cut before a stop
            text. None if the bundle has no tokenizer.
        prompt_log_p: log p(x_t | x_<t) of the prompt's values under the model, in nats, [p], in the
            first delta of a request; None in later ones, without the request's `prompt_log_p`, and
            for a request that was cancelled before it drew. For a model without a start symbol the
            first is 0.
        top: the most probable values at the positions of the new values, [m, k], if the request
            has `logprobs=k`.
    """

    request: int
    values: Int64[np.ndarray, " m"]
    log_p: Float32[np.ndarray, " m"]
    log_q: Float32[np.ndarray, " m"]
    ended: Ended | None
    text: str | None
    prompt_log_p: Float32[np.ndarray, " p"] | None = None
    top: Alternatives | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a stream is.

    Attributes:
        queued: requests that were read and whose prompts are not done.
        running: requests that draw.
        finished: requests that ended by themselves.
        cancelled: requests that were cancelled.
        values: values in all deltas so far.
    """

    queued: int
    running: int
    finished: int
    cancelled: int
    values: int


class Desk:
    """Requests in order of arrival, and the slots that they are drawn in.

    It is what `stream` and `astream` are built on. A server that gets requests at any time uses it
    itself, from one thread:

        desk = engine.desk(slots=8)
        with desk.lease:
            while True:
                ...  # offer what has arrived while `desk.room`, cancel what is not wanted
                for delta in desk.round():
                    ...  # what each request drew

    Not thread-safe, but for `cancel` and `counts`.
    """

    def __init__(
        self,
        runner: Runner,
        slots: int,
        *,
        text: bool,
        prefix_memory: int,
        lone: LoneRow | None = None,
    ) -> None:
        """Create empty slots.

        Args:
            runner: the engine.
            slots: number of slots.
            text: whether deltas have text, if the bundle has a tokenizer.
            prefix_memory: most bytes of caches of requests that have left their slots.
            lone: draws a request in blocks of proposals while it is the only one.
        """
        self._runner, self._decodes = runner, text and runner.data.tokenizer is not None
        self._slots = Slots(runner, slots, prefix_memory, lone)
        self._size = slots
        self._queue: deque[Task] = deque()
        self._texts: dict[int, RowText] = {}
        self._cancelling: deque[int] = deque()
        # Requests that were cancelled and perhaps not read yet.
        self._unwanted: set[int] = set()
        self._read = self._finished = self._cancelled = self._values = 0

    @property
    def lease(self) -> AbstractContextManager[object]:
        """Context in which requests are drawn; its end releases the slots."""
        return self._slots.lease()

    @property
    def counts(self) -> Counts:
        """Numbers of requests and of values."""
        queued = len(self._queue) + self._slots.filling
        running = self._size - self._slots.free - self._slots.filling
        return Counts(queued, running, self._finished, self._cancelled, self._values)

    @property
    def speculated(self) -> Speculated | None:
        """Calls and acceptance of requests while nothing else drew; None without `speculate`."""
        return self._slots.speculated

    @property
    def size(self) -> int:
        """Number of slots."""
        return self._size

    @property
    def room(self) -> int:
        """How many more requests can begin at once."""
        return self._slots.free - len(self._queue)

    @property
    def idle(self) -> bool:
        """Whether no request waits or draws."""
        return not self._queue and self._slots.free == self._size

    def offer(self, request: object) -> int:
        """Put a request in line for a slot.

        Returns:
            Its number, by which its deltas are known.

        Raises:
            InvalidInput: it is not a request, or does not fit the model.
            BundleError: the bundle does not have the step graph that it needs.
        """
        self._queue.append(task_of(self._runner, request, self._read))
        self._read += 1
        return self._read - 1

    def cancel(self, number: int) -> None:
        """Cancel a request in the next round, by its position in the input."""
        self._cancelling.append(number)

    def round(self) -> list[Delta]:
        """Refill free slots, run all rows a little, and return what they drew.

        Raises:
            NotADistribution: a log-probability is NaN.
            BundleError: the weights have changed since the bundle was opened, or a drawn value is
                not a level.
        """
        deltas = self._cancel()
        while self._queue and self._slots.free:
            task = self._queue.popleft()
            if self._decodes:
                prompt = task.start.observed[0, : task.begin].tolist()
                text = RowText(self._runner.tokenizer(), prompt, task.stop_text)
                self._texts[task.number] = text
            self._slots.admit(task)
        found = (self._delta(drawn) for drawn in self._slots.tick())
        return deltas + [delta for delta in found if len(delta.values) or delta.ended]

    def _cancel(self) -> list[Delta]:
        """Drop the requests that were cancelled, and return the last delta of each."""
        self._unwanted.update(self._cancelling.popleft() for _ in range(len(self._cancelling)))
        deltas = []
        for number in sorted(self._unwanted):
            queued = [task for task in self._queue if task.number == number]
            if queued:
                self._queue.remove(queued[0])
            if queued or self._slots.cancel(number):
                self._cancelled += 1
                self._texts.pop(number, None)
                none = np.zeros(0, np.float32)
                text = "" if self._decodes else None
                values = np.zeros(0, np.int64)
                deltas.append(Delta(number, values, none, none, "cancelled", text))
        self._unwanted = {number for number in self._unwanted if number >= self._read}
        return deltas

    def _delta(self, drawn: Drawn) -> Delta:
        """Return what a row drew, up to its first stop text."""
        number, size, ended = drawn.task.number, len(drawn.values), drawn.ended
        text = None
        if self._decodes:
            row = self._texts[number]
            for i, value in enumerate(drawn.values.tolist()):
                if value not in drawn.task.stop and row.push(value):
                    size, ended = i + 1, "stop"
                    self._slots.cancel(number)
                    break
            text = row.take() if ended is None else row.finish()
        if ended is not None:
            self._texts.pop(number, None)
            self._finished += 1
        self._values += size
        parts = (drawn.values[:size], drawn.log_p[:size], drawn.log_q[:size])
        top = None if drawn.top is None else drawn.top.part(slice(size))
        return Delta(number, *parts, ended, text, drawn.prompt_log_p, top)


class Control:
    """What a consumer of a stream may ask and do, other than reading it."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def cancel(self, request: int) -> None:
        """Cancel a request; its last delta has `ended` "cancelled".

        Nothing happens if the request has ended. Any thread may call this.

        Args:
            request: position of the request in the input, from 0; it may not have been read yet.

        Raises:
            InvalidInput: `request` is not such an integer.
        """
        self._desk.cancel(whole("request", request, 0))

    @property
    def counts(self) -> Counts:
        """Numbers of requests that wait, draw and have ended, and of values so far."""
        return self._desk.counts

    @property
    def speculated(self) -> Speculated | None:
        """Calls and acceptance of requests while nothing else drew; None without `speculate`."""
        return self._desk.speculated
