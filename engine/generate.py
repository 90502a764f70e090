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
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32, Int64
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments, inputs, step_loop
from ancestral.engine.noise import Noise
from ancestral.engine.session import Array, Binding
from ancestral.errors import InvalidInput
from ancestral.sampling import Sampling
from ancestral.signature import GraphSignature, Update

if TYPE_CHECKING:
    from ancestral.engine.autoregressive import AutoregressiveEngine

STEPS_PER_WORD = 4
"""Steps of a launch where tokens are told as they come."""
_STATE = frozenset({"position", "values", "log_p", "log_q"})
_UNFILTERED = Sampling()

Ended = Literal["stop", "max_new", "context"]
"""By a stop token, which is the last of the tokens; by the number asked for; at position T."""
Stream = Callable[[int, NDArray[np.int64]], None]
"""Told the index of a sample, and the tokens that it has drawn since it was last told of."""


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
        progress: told how many positions of how many are done; fewer are needed where rows stop.
        stream: told the tokens of each row as they come.
    """

    max_new: int | None = None
    stop: Sequence[int] | None = None
    labels: ArrayLike | int | None = None
    seed: int = 0
    first_index: int = 0
    sampling: Sampling = _UNFILTERED
    batch: int | None = None
    progress: step_loop.Progress | None = None
    stream: Stream | None = None


def generate_batches(
    engine: "AutoregressiveEngine", prompts: Sequence[ArrayLike], request: Request
) -> Iterator[list[Generated]]:
    """Continue each prompt, batch by batch as they finish.

    Args:
        engine: a bundle on a backend.
        prompts: ids of each, [p], by positions; sample first_index + i continues prompt i.
        request: what is asked for.

    Raises:
        InvalidInput: an argument is wrong; at once, not at the first batch.
    """
    checked = _prompts(arguments.members("prompts", prompts, ordered=True), engine)
    n, levels = len(checked), engine.data.levels
    if request.max_new is not None:
        request = replace(request, max_new=inputs.count("max_new", request.max_new, 1))
    wanted = engine.data.stop if request.stop is None else request.stop
    stops = arguments.members("stop", wanted, ordered=False)
    stop = tuple(inputs.count("stop", value, 0, levels - 1) for value in stops)
    sampling, seed = arguments.sampling(request.sampling), arguments.seed(request.seed)
    first_index = arguments.first_of(request.first_index, n)
    for name, called in (("progress", request.progress), ("stream", request.stream)):
        arguments.callback(name, called)
    request = replace(request, stop=stop, seed=seed)
    label = inputs.labels(request.labels, n, engine.data, engine.bundle.manifest.label_optional)
    graph = "step" if sampling.unfiltered else "step_filtered"
    signature = engine.session(graph).signature
    rows = step_loop.chosen_rows(signature, engine.backend.room, request.batch, n)

    def batch(start: int) -> list[Generated]:
        part = checked[start : start + rows]
        given = step_loop.filters(request.sampling, len(part), levels)
        if label is not None:
            given["label"] = np.array(label[start : start + rows])
        run = _Run(part, engine.data.length, request, Noise(request.seed, first_index + start))
        tell = None
        if request.progress is not None:
            tell = _Progress(request.progress, start / n, len(part) / n)
        with engine.binding(graph, len(part)) as binding:
            return run.draw(binding, engine, graph, given, tell)

    return (batch(start) for start in range(0, n, rows))


class _Progress:
    """Steps of a batch as a share of all batches, in thousandths."""

    def __init__(self, told: step_loop.Progress, before: float, share: float) -> None:
        self._told, self._before, self._share = told, before, share

    def __call__(self, done: int, steps: int) -> None:
        self._told(round(1000 * (self._before + self._share * done / max(steps, 1))), 1000)


def _prompts(prompts: Iterable[ArrayLike], engine: "AutoregressiveEngine") -> list[Array]:
    """Each as int64 [p].

    Raises:
        InvalidInput: there is none, or one is no sequence of ids, too long, or empty where the
            model has no start symbol.
    """
    length, levels = engine.data.length, engine.data.levels
    checked = []
    for i, prompt in enumerate(prompts):
        ids = inputs.ids(f"prompt {i}", prompt, levels)
        if len(ids) > length:
            raise InvalidInput(
                f"prompt {i}: expected at most {length} tokens, the model's context, got "
                f"{len(ids)}: shorten it"
            )
        if not len(ids) and engine.bundle.manifest.first_position:
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

    def __init__(self, prompts: Sequence[Array], t: int, request: Request, noise: Noise) -> None:
        self._prompts, self._t, self._noise, self._stream = prompts, t, noise, request.stream
        self._stop = np.array(request.stop, np.int64)
        self._lengths = np.array([len(prompt) for prompt in prompts], np.int64)
        wanted = self._lengths + (t + 1 if request.max_new is None else request.max_new)
        # Of each row, the position at which it has drawn all that it may, and why it ends there.
        self._ends = np.minimum(wanted, t)
        self._ended: list[Ended] = ["context" if end > t else "max_new" for end in wanted.tolist()]
        # Up to where its tokens have been looked at.
        self._told = self._lengths.copy()

    def draw(
        self,
        binding: Binding,
        engine: "AutoregressiveEngine",
        graph: str,
        given: dict[str, Array],
        tell: step_loop.Progress | None,
    ) -> list[Generated]:
        """Run the loop until every row has ended."""
        first = engine.bundle.manifest.first_position
        position = self._begin(binding, engine.session(graph).signature, given, first)
        size = step_loop.STEPS_PER_LAUNCH if self._stream is None else STEPS_PER_WORD
        steps, done = int((self._ends - position).max()), 0
        while (position < self._ends).any():
            # Rows that have stopped, or may draw no more, go on unheard beside the others.
            launch = min(size, int((self._ends - position).max()))
            binding.run(launch)
            position = np.minimum(position + launch, self._t)
            done += launch
            self._look(binding.read("values"), position)
            if tell is not None:
                tell(done, steps)
        return self._generated(binding, "temperature" in given)

    def _begin(
        self, binding: Binding, signature: GraphSignature, given: dict[str, Array], first: int
    ) -> NDArray[np.int64]:
        """Write what the loop begins with and run the block.

        Returns:
            the next position of each row, [b].
        """
        observed = np.full((len(self._prompts), self._t), -1, np.int64)
        for row, prompt in zip(observed, self._prompts, strict=True):
            row[: len(prompt)] = prompt
        rewinds = step_loop.takes_blocks(signature) and _has_slots(signature, self._t)
        filled = observed.copy()
        if rewinds:
            longest = filled[:, : int(self._lengths.max())]
            longest[longest < 0] = 0
        done = step_loop.begin(
            binding,
            filled,
            given,
            first_position=first,
            prefill=step_loop.takes_blocks(signature),
            noise=self._noise,
        )
        position = np.full(len(self._prompts), done, np.int64)
        if rewinds:
            position = np.clip(self._lengths, first, done)
            binding.write("observed", observed)
            binding.write("position", position)
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
                self._stream(self._noise.first_index + int(i), tokens)
        self._told = reached

    def _generated(self, binding: Binding, filtered: bool) -> list[Generated]:
        values, log_p = binding.read("values"), binding.read("log_p")
        # What a row drew after its end is nobody's.
        log_p = np.where(np.arange(self._t) < self._ends[:, None], log_p, np.float32(0))
        step_loop.check(log_p, self._noise.first_index)
        log_q = binding.read("log_q") if filtered else log_p
        rows = zip(self._lengths.tolist(), self._ends.tolist(), strict=True)
        return [
            Generated(
                prompt=values[i, :start].copy(),
                tokens=values[i, start:end].copy(),
                prompt_log_p=log_p[i, :start].copy(),
                log_p=log_p[i, start:end].copy(),
                log_q=log_q[i, start:end].copy(),
                ended=self._ended[i],
                index=self._noise.first_index + i,
            )
            for i, (start, end) in enumerate(rows)
        ]


def _has_slots(signature: GraphSignature, t: int) -> bool:
    """Whether all that the model carries is appended to a slot for each of t positions."""
    cache = [pair for pair in signature.carried if pair.input not in _STATE]
    return all(
        pair.update is Update.APPEND and t in signature.input(pair.input).axes for pair in cache
    )
