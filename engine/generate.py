"""Continuations of prompts of different lengths, as rows of one batch.

Prompts are left-aligned and padded on the right. Where the cache has a slot for each position, the
longest prompt goes through as one block, its padding in the other rows too; then each row is put
back to the end of its own prompt, beyond which nothing is read that a step has not written anew.
Where the state is replaced instead (a recurrent model), what all rows observe goes through as a
block, and the rest of the longer prompts step by step.

The noise of a row is that of (seed, index, position) alone, so that its values and their
log-probabilities are those of the row alone, within the tolerance of the backend.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments, budget, inputs, step_loop
from ancestral.engine.arguments import Progress
from ancestral.engine.runner import Runner
from ancestral.engine.sample import Draw
from ancestral.engine.session import Array, Binding
from ancestral.errors import InvalidInput
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole

STEPS_PER_WORD = 4
"""Steps of a launch where tokens are passed on as they come."""

Ended = Literal["stop", "max_new", "context"]
"""By a stop token, which is the last of the tokens; by the number asked for; at position T."""
Stream = Callable[[int, NDArray[np.int64]], None]
"""Called with the index of a sample, and the tokens that it has drawn since the last call."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A prompt and what was drawn after it.

    Attributes:
        prompt: [p].
        tokens: drawn, [m]; a stop token that ended them is the last.
        prompt_log_p: log p(x_t | x_<t) of the prompt's tokens, in nats, [p]. Without a start symbol
            the first is 0 by definition: their sum is log p(x_2 .. x_p | x_1).
        log_p: log p(x_t | x_<t) of the tokens under the model itself, in nats, [m].
        log_q: under the distribution that they were drawn from, with temperature and filters, [m].
        ended: why no more was drawn.
        index: of the sample: its noise is that of (seed, index).
    """

    prompt: Int64[np.ndarray, " p"]
    tokens: Int64[np.ndarray, " m"]
    prompt_log_p: Float32[np.ndarray, " p"]
    log_p: Float32[np.ndarray, " m"]
    log_q: Float32[np.ndarray, " m"]
    ended: Ended
    index: int


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked for beside the prompts.

    Attributes:
        max_new: tokens to draw after a prompt at most; up to the end of the context where None.
        stop: values that end a row; those of the data where None.
        labels: one for all, or [n]; needed where the model has classes and no p(x) of its own.
        seed: 0 .. 2^64 - 1.
        first_index: sample index of the first prompt.
        sampling: temperature and filters.
        batch: rows a batch; by memory where None.
        progress: called with how many positions of how many are done; fewer are needed where rows
            stop.
        stream: called with the tokens of each row as they come.
    """

    max_new: int | None = None
    stop: Sequence[int] | None = None
    labels: ArrayLike | int | None = None
    seed: int = 0
    first_index: int = 0
    sampling: Sampling = UNFILTERED
    batch: int | None = None
    progress: Progress | None = None
    stream: Stream | None = None


def generate(  # noqa: PLR0913 - what a user may choose
    runner: Runner,
    prompts: Sequence[ArrayLike],
    max_new: int | None = None,
    *,
    stop: Sequence[int] | None = None,
    labels: ArrayLike | int | None = None,
    seed: int = 0,
    first_index: int = 0,
    sampling: Sampling = UNFILTERED,
    batch: int | None = None,
    stream: Stream | None = None,
) -> list[Generated]:
    """Continue prompts of different lengths; a row is what it would be by itself.

    Arguments as in `sample_batches`; and, for a prompt in place of observed values:

    - `prompts`, ids of each, [p], by positions; sample first_index + i continues prompt i;
    - `max_new`, tokens to draw after a prompt at most; up to the end of the context where None;
    - `stop`, values that end a row, and are its last; those of the data where None;
    - `stream`, called with the index of a sample and its new tokens, as they come.

    Raises:
        InvalidInput: an argument is wrong: a prompt beyond the context, or ids that are not values.
    """
    request = Request(
        max_new, stop, labels, seed, first_index, sampling, batch=batch, stream=stream
    )
    return [row for part in generate_batches(runner, prompts, request) for row in part]


def generate_batches(
    runner: Runner, prompts: Sequence[ArrayLike], request: Request
) -> Iterator[list[Generated]]:
    """Continue each prompt, batch by batch as they finish.

    Args:
        runner: a bundle on a backend.
        prompts: ids of each, [p], by positions; sample first_index + i continues prompt i.
        request: what is asked for.

    Raises:
        InvalidInput: an argument is wrong; at once, not at the first batch.
    """
    checked = _prompts(arguments.members("prompts", prompts, ordered=True), runner)
    n, levels = len(checked), runner.data.levels
    if request.max_new is not None:
        request = replace(request, max_new=whole("max_new", request.max_new, 1))
    wanted = runner.data.stop if request.stop is None else request.stop
    stops = arguments.members("stop", wanted, ordered=False)
    request = replace(request, stop=tuple(whole("stop", each, 0, levels - 1) for each in stops))
    sampling = arguments.sampling(request.sampling)
    noise = arguments.noise(request.seed, request.first_index, n)
    for name, called in (("progress", request.progress), ("stream", request.stream)):
        arguments.callback(name, called)
    label = runner.labels(request.labels, n)
    graph = step_loop.graph_of(sampling)
    signature = runner.session(graph).signature
    rows = budget.rows_of_batch(signature, runner.backend.room, request.batch, n)

    def batch(at: int) -> list[Generated]:
        part = checked[at : at + rows]
        observed = np.full((len(part), runner.data.length), -1, np.int64)
        for row, prompt in zip(observed, part, strict=True):
            row[: len(prompt)] = prompt
        labels = None if label is None else label[at : at + rows]
        draw = Draw(observed, labels, noise.after(at), sampling)
        rewinds = step_loop.rewinds(signature, runner.data.length)
        run = _Run([len(prompt) for prompt in part], draw.start(runner), rewinds, request)

        def report(done: int, steps: int) -> None:
            """Steps of this batch as a share of all batches, in thousandths."""
            if request.progress is not None:
                share = at / n + len(part) / n * done / max(steps, 1)
                request.progress(round(1000 * share), 1000)

        with runner.binding(graph, len(part)) as binding:
            return run.draw(binding, report)

    return (batch(at) for at in range(0, n, rows))


def _prompts(prompts: Iterable[ArrayLike], runner: Runner) -> list[Array]:
    """Each as int64 [p].

    Raises:
        InvalidInput: there is none, or one is no sequence of ids, too long, or empty where the
            model has no start symbol.
    """
    length, levels = runner.data.length, runner.data.levels
    checked = []
    for i, prompt in enumerate(prompts):
        ids = inputs.ids(f"prompt {i}", prompt, levels)
        if len(ids) > length:
            raise InvalidInput(
                f"prompt {i}: expected at most {length} tokens, the model's context, got "
                f"{len(ids)}: shorten it"
            )
        if not len(ids) and runner.first_position:
            raise InvalidInput(
                f"prompt {i}: the model has no start symbol: expected at least one token to go on "
                f"from, got an empty prompt"
            )
        checked.append(ids)
    if not checked:
        raise InvalidInput("prompts: expected at least one, got none")
    return checked


class _Run:
    """One batch: rows that begin at the ends of their prompts."""

    def __init__(
        self, lengths: list[int], start: step_loop.Start, rewinds: bool, request: Request
    ) -> None:
        self._start, self._rewinds, self._stream = start, rewinds, request.stream
        self._first_index = 0 if start.noise is None else start.noise.first_index
        self._stop = np.array(request.stop, np.int64)
        self._lengths = np.array(lengths, np.int64)
        self._t = t = start.observed.shape[1]
        wanted = self._lengths + (t + 1 if request.max_new is None else request.max_new)
        # Of each row, the position at which it has drawn all that it may, and why it ends there.
        self._ends = np.minimum(wanted, t)
        self._ended: list[Ended] = ["context" if end > t else "max_new" for end in wanted.tolist()]
        # Up to where its tokens have been looked at.
        self._told = self._lengths.copy()

    def draw(self, binding: Binding, report: Progress) -> list[Generated]:
        """Run the loop until every row has ended."""
        position = self._begin(binding)
        size = step_loop.STEPS_PER_LAUNCH if self._stream is None else STEPS_PER_WORD
        steps, done = int((self._ends - position).max()), 0
        while (position < self._ends).any():
            # Rows that have stopped, or may draw no more, go on with the others.
            launch = min(size, int((self._ends - position).max()))
            step_loop.advance(binding, launch)
            position = np.minimum(position + launch, self._t)
            done += launch
            self._look(step_loop.read_values(binding), position)
            report(done, steps)
        return self._generated(step_loop.result(binding, self._start))

    def _begin(self, binding: Binding) -> NDArray[np.int64]:
        """Run the block of the prompts; the next position of each row, [b]."""
        observed = self._start.observed
        if not self._rewinds:
            done = step_loop.begin(binding, self._start)
            return np.full(len(observed), done, np.int64)
        filled = observed.copy()
        longest = filled[:, : int(self._lengths.max())]
        longest[longest < 0] = 0
        done = step_loop.begin(binding, replace(self._start, observed=filled))
        position = np.clip(self._lengths, self._start.first_position, done)
        step_loop.rewind(binding, position, observed)
        return position

    def _look(self, values: NDArray[np.int64], position: NDArray[np.int64]) -> None:
        """Find the stop tokens among what is new, end these rows there, and tell what is new."""
        at = np.arange(values.shape[1])
        reached = np.minimum(position, self._ends)
        new = (at >= self._told[:, None]) & (at < reached[:, None])
        stops = new & np.isin(values, self._stop)
        found = stops.any(axis=1)
        for i in np.flatnonzero(found):
            self._ended[i] = "stop"
        self._ends = np.where(found, stops.argmax(axis=1) + 1, self._ends)
        reached = np.maximum(np.minimum(reached, self._ends), self._told)
        if self._stream is not None:
            for i in np.flatnonzero(reached > self._told):
                tokens = values[i, self._told[i] : reached[i]].copy()
                self._stream(self._first_index + int(i), tokens)
        self._told = reached

    def _generated(self, found: step_loop.LoopResult) -> list[Generated]:
        # What a row drew after its end is discarded.
        drawn = np.arange(self._t) < self._ends[:, None]
        step_loop.check(np.where(drawn, found.log_p, np.float32(0)), self._first_index)
        rows = zip(self._lengths.tolist(), self._ends.tolist(), strict=True)
        return [
            Generated(
                prompt=found.values[i, :start].copy(),
                tokens=found.values[i, start:end].copy(),
                prompt_log_p=found.log_p[i, :start].copy(),
                log_p=found.log_p[i, start:end].copy(),
                log_q=found.log_q[i, start:end].copy(),
                ended=self._ended[i],
                index=self._first_index + i,
            )
            for i, (start, end) in enumerate(rows)
        ]
