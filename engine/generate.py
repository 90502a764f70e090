"""Continue prompts of different lengths, as rows of one batch.

Prompts are left-aligned and padded on the right. If the cache has a slot for each position, one
block runs the longest prompt, with padding in the other rows. Each row is then put back to the end
of its own prompt; a step overwrites the slots beyond it before they are read. If the state is
replaced instead (a recurrent model), the positions that all rows observe are run as a block, and
the rest of the longer prompts step by step.

The noise of a row depends on (seed, index, position) only. A row therefore has the same values and
log-probabilities as in a batch of one, within the tolerance of the backend.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import alternatives, arguments, budget, inputs, prefill, step_loop
from ancestral.engine.alternatives import Alternatives
from ancestral.engine.arguments import Progress
from ancestral.engine.runner import Runner
from ancestral.engine.sample import Draw
from ancestral.engine.session import Array, Binding
from ancestral.errors import InvalidInput
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole

STEPS_PER_WORD = 4
"""Steps of a launch when tokens are streamed."""

Ended = Literal["stop", "max_new", "context"]
"""A row ends with a stop token, after `max_new` tokens, or at the end of the context."""
Stream = Callable[[int, NDArray[np.int64]], None]
"""Called with the index of a sample, and the tokens that it has drawn since the last call."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A prompt and the tokens drawn after it.

    Attributes:
        prompt: ids of the prompt, [p].
        tokens: drawn ids, [m]; the last one is the stop token if that ended the row.
        prompt_log_p: log p(x_t | x_<t) of the prompt's tokens, in nats, [p]. For a model without a
            start symbol the first is 0, so that their sum is log p(x_2 .. x_p | x_1). None if it
            was not asked for.
        log_p: log p(x_t | x_<t) of the drawn tokens under the model itself, in nats, [m].
        log_q: log-probability of the drawn tokens under the distribution that they were drawn
            from, with bias, penalties, temperature and filters, in nats, [m].
        ended: why the row ended: "stop", "max_new" or "context".
        index: sample index; the noise of the row is that of (seed, index).
        top: the most probable values at the positions of the tokens, [m, k], if they were asked
            for.
    """

    prompt: Int64[np.ndarray, " p"]
    tokens: Int64[np.ndarray, " m"]
    prompt_log_p: Float32[np.ndarray, " p"] | None
    log_p: Float32[np.ndarray, " m"]
    log_q: Float32[np.ndarray, " m"]
    ended: Ended
    index: int
    top: Alternatives | None = None


@dataclass(frozen=True, slots=True)
class Options:
    """The arguments of `generate` other than the prompts, and a progress callback.

    Attributes:
        max_new: largest number of tokens to draw after a prompt; None draws to the end of the
            context.
        stop: values that end a row; None means those of the data.
        labels: class of all rows, or of each, [n]; required if the model has only p(x | y).
        seed: integer in 0 .. 2^64 - 1.
        first_index: sample index of the first prompt.
        sampling: temperature, filters, bias and penalties.
        batch: rows of a batch; None chooses by memory.
        progress: called as `progress(done, 1000)`, in thousandths of all steps; it may end below
            1000 if rows stop early.
        stream: called with the new tokens of each row as they are drawn.
        prompt_log_p: whether log p of the prompts is computed.
        logprobs: number of most probable values to return at each position.
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
    prompt_log_p: bool = True
    logprobs: int = 0


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
    prompt_log_p: bool = True,
    logprobs: int = 0,
) -> list[Generated]:
    """Continue prompts of different lengths.

    Row i depends on its prompt and (seed, first_index + i), not on the other prompts.

    Args:
        runner: the engine.
        prompts: ids of each prompt, [p], by positions. A prompt may be empty if the model has a
            start symbol.
        max_new: largest number of tokens to draw after a prompt; None draws to the end of the
            context.
        stop: values that end a row, as its last token; None means those of the data.
        labels: class of all rows, or of each, [n]; required if the model has only p(x | y).
        seed: integer in 0 .. 2^64 - 1.
        first_index: sample index of the first prompt.
        sampling: temperature, filters, bias and penalties.
        batch: rows of a batch; None chooses by memory.
        stream: called as `stream(index, tokens)` with the sample index of a row and its new
            tokens, as they are drawn.
        prompt_log_p: whether log p of the prompts is computed. Without it, prompts are prefilled
            faster, by a graph without the last projection.
        logprobs: number of most probable values to return at each position, 0 .. 20.

    Returns:
        A `Generated` for each prompt: the drawn ids, [m], and the log-probabilities of prompt and
        drawn ids, in nats.

    Raises:
        InvalidInput: an argument is invalid, for example a prompt is longer than the context, or an
            id is not a value of the model.
        NotADistribution: a log-probability is NaN.
        BundleError: the weights have changed since the bundle was opened.

    For example:

        tokenizer = engine.tokenizer()
        prompts = [tokenizer.encode(text) for text in ("Once upon", "The")]
        rows = engine.generate(prompts, max_new=40, sampling=Sampling(temperature=0.8))
        texts = [tokenizer.decode(row.tokens) for row in rows]
    """
    options = Options(
        max_new,
        stop,
        labels,
        seed,
        first_index,
        sampling,
        batch,
        None,
        stream,
        prompt_log_p,
        logprobs,
    )
    return [row for part in generate_batches(runner, prompts, options) for row in part]


def generate_batches(
    runner: Runner, prompts: Sequence[ArrayLike], options: Options
) -> Iterator[list[Generated]]:
    """Continue each prompt, and return each batch when it is finished.

    Args:
        runner: the engine.
        prompts: ids of each prompt, [p], by positions; sample first_index + i continues prompt i.
        options: the other arguments.

    Raises:
        InvalidInput: an argument is invalid. Raised by this call, not by the first batch.
    """
    checked = _prompts(arguments.members("prompts", prompts, ordered=True), runner)
    n, levels = len(checked), runner.data.levels
    if options.max_new is not None:
        options = replace(options, max_new=whole("max_new", options.max_new, 1))
    wanted = runner.data.stop if options.stop is None else options.stop
    stops = arguments.members("stop", wanted, ordered=False)
    options = replace(options, stop=tuple(whole("stop", each, 0, levels - 1) for each in stops))
    sampling = arguments.sampling(options.sampling, levels)
    options = replace(options, logprobs=alternatives.checked(options.logprobs, levels))
    noise = arguments.noise(options.seed, options.first_index, n)
    for name, called in (("progress", options.progress), ("stream", options.stream)):
        arguments.callback(name, called)
    label = runner.labels(options.labels, n)
    scored = arguments.flag("prompt_log_p", options.prompt_log_p)
    filling = prefill.session_of(runner, prompt_log_p=scored)
    graph = step_loop.graph_of(sampling, runner.bundle.manifest.graphs, options.logprobs)
    signature = runner.session(graph).signature
    rows = budget.rows_of_batch(signature, runner.backend.room, options.batch, n)

    def batch(at: int) -> list[Generated]:
        part = checked[at : at + rows]
        observed = np.full((len(part), runner.data.length), -1, np.int64)
        for row, prompt in zip(observed, part, strict=True):
            row[: len(prompt)] = prompt
        labels = None if label is None else label[at : at + rows]
        draw = Draw(observed, labels, noise.after(at), sampling, options.logprobs)
        start = replace(draw.start(runner), filling=filling)
        rewinds = step_loop.rewinds(signature, runner.data.length)
        run = _Run([len(prompt) for prompt in part], start, rewinds, options)

        def report(done: int, steps: int) -> None:
            """Report the steps of this batch as thousandths of all batches."""
            if options.progress is not None:
                share = at / n + len(part) / n * done / max(steps, 1)
                options.progress(round(1000 * share), 1000)

        with runner.binding(graph, len(part)) as binding:
            return run.draw(binding, report)

    return (batch(at) for at in range(0, n, rows))


def _prompts(prompts: Iterable[ArrayLike], runner: Runner) -> list[Array]:
    """Return each prompt as int64 [p].

    Raises:
        InvalidInput: there is no prompt; or one is not a sequence of ids, is too long, or is empty
            and the model has no start symbol.
    """
    checked = [
        inputs.prompt(f"prompt {i}", prompt, runner.data, runner.first_position)
        for i, prompt in enumerate(prompts)
    ]
    if not checked:
        raise InvalidInput("prompts: at least one prompt is required")
    return checked


class _Run:
    """One batch, whose rows begin at the ends of their prompts."""

    def __init__(
        self, lengths: list[int], start: step_loop.Start, rewinds: bool, options: Options
    ) -> None:
        self._start, self._rewinds, self._stream = start, rewinds, options.stream
        self._scored = options.prompt_log_p
        self._first_index = 0 if start.noise is None else start.noise.first_index
        self._stop = np.array(options.stop, np.int64)
        self._logprobs = options.logprobs
        self._lengths = np.array(lengths, np.int64)
        self._t = t = start.observed.shape[1]
        wanted = self._lengths + (t + 1 if options.max_new is None else options.max_new)
        # The position at which each row ends, unless it stops earlier, and why it ends there.
        self._ends = np.minimum(wanted, t)
        self._ended: list[Ended] = ["context" if end > t else "max_new" for end in wanted.tolist()]
        # The position up to which the tokens of each row have been looked at.
        self._seen = self._lengths.copy()

    def draw(self, binding: Binding, report: Progress) -> list[Generated]:
        """Run the loop until every row has ended."""
        position = step_loop.begin_prompts(
            binding, self._start, self._lengths, rewinds=self._rewinds
        )
        size = step_loop.STEPS_PER_LAUNCH if self._stream is None else STEPS_PER_WORD
        steps, done = int((self._ends - position).max()), 0
        while (position < self._ends).any():
            # Rows that have ended go on with the others; what they draw is discarded.
            launch = min(size, int((self._ends - position).max()))
            step_loop.advance(binding, launch)
            position = np.minimum(position + launch, self._t)
            done += launch
            self._look(step_loop.read_values(binding), position)
            report(done, steps)
        top = step_loop.read_top(binding, self._logprobs) if self._logprobs else None
        return self._generated(step_loop.result(binding, self._start), top)

    def _look(self, values: NDArray[np.int64], position: NDArray[np.int64]) -> None:
        """Find stop tokens among the new ones, end these rows there, and stream the new tokens."""
        at = np.arange(values.shape[1])
        reached = np.minimum(position, self._ends)
        new = (at >= self._seen[:, None]) & (at < reached[:, None])
        stops = new & np.isin(values, self._stop)
        found = stops.any(axis=1)
        for i in np.flatnonzero(found):
            self._ended[i] = "stop"
        self._ends = np.where(found, stops.argmax(axis=1) + 1, self._ends)
        reached = np.maximum(np.minimum(reached, self._ends), self._seen)
        if self._stream is not None:
            for i in np.flatnonzero(reached > self._seen):
                tokens = values[i, self._seen[i] : reached[i]].copy()
                self._stream(self._first_index + int(i), tokens)
        self._seen = reached

    def _generated(self, found: step_loop.LoopResult, top: Alternatives | None) -> list[Generated]:
        # What a row drew after its end is discarded.
        drawn = np.arange(self._t) < self._ends[:, None]
        log_p, log_q = (np.where(drawn, each, np.float32(0)) for each in (found.log_p, found.log_q))
        step_loop.check(log_p, self._first_index, log_q)
        rows = zip(self._lengths.tolist(), self._ends.tolist(), strict=True)
        return [
            Generated(
                prompt=found.values[i, :start].copy(),
                tokens=found.values[i, start:end].copy(),
                prompt_log_p=found.log_p[i, :start].copy() if self._scored else None,
                log_p=found.log_p[i, start:end].copy(),
                log_q=found.log_q[i, start:end].copy(),
                ended=self._ended[i],
                index=self._first_index + i,
                top=None if top is None else top.part(i, slice(start, end)),
            )
            for i, (start, end) in enumerate(rows)
        ]
