"""One batch of prompts of different lengths, continued in lockstep."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import draw_checks, step_loop
from ancestral.engine.alternatives import Alternatives
from ancestral.engine.arguments import Progress
from ancestral.engine.session import Binding
from ancestral.engine.speculation import Speculate, Speculated, SpeculatedRow
from ancestral.sampling import UNFILTERED, Sampling

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
        speculated: calls and acceptance, if `speculate` was given.
    """

    prompt: Int64[np.ndarray, " p"]
    tokens: Int64[np.ndarray, " m"]
    prompt_log_p: Float32[np.ndarray, " p"] | None
    log_p: Float32[np.ndarray, " m"]
    log_q: Float32[np.ndarray, " m"]
    ended: Ended
    index: int
    top: Alternatives | None = None
    speculated: Speculated | None = None


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
        speculate: proposer of values, with which a batch has a single row; None draws step by step.
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
    speculate: Speculate = None


class PromptBatch:
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

    def draw(
        self, binding: Binding, report: Progress, loop: SpeculatedRow | None = None
    ) -> list[Generated]:
        """Run the loop until every row has ended.

        Args:
            binding: binding of a step graph with as many rows.
            report: called after each launch with the number of steps done, and of all steps.
            loop: loop with proposals, if there is a single row; None draws step by step.
        """
        position = step_loop.begin_prompts(
            binding, self._start, self._lengths, rewinds=self._rewinds
        )
        size = step_loop.STEPS_PER_LAUNCH if self._stream is None else STEPS_PER_WORD
        steps, done = int((self._ends - position).max()), 0
        while (position < self._ends).any():
            # Rows that have ended go on with the others; what they draw is discarded.
            launch = min(size, int((self._ends - position).max()))
            if loop is None:
                step_loop.advance(binding, launch)
            else:
                at, end = int(position[0]), int(self._ends[0])
                launch = loop.advance(binding, at, end, launch=size) - at
            position = np.minimum(position + launch, self._t)
            done += int(launch)
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
        draw_checks.check(log_p, self._first_index, log_q)
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
