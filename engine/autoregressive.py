"""The engine of an autoregressive model: samples, log-probabilities, classes, completions."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral import step_tensors as names
from ancestral.engine import arguments, inputs, step_loop
from ancestral.engine.bindings import Bindings
from ancestral.engine.classify import Classification, classify
from ancestral.engine.engine import Engine
from ancestral.engine.generate import Generated, Request, Stream, generate_batches
from ancestral.engine.noise import Noise
from ancestral.engine.particles import Completion, complete
from ancestral.engine.session import Array, Binding
from ancestral.engine.step_loop import Progress
from ancestral.engine.text_likelihood import TextLikelihood, text_likelihood
from ancestral.engine.verify import verify
from ancestral.errors import InvalidInput, NotADistribution
from ancestral.parity import ParityReport
from ancestral.sampling import Sampling
from ancestral.text.tokenizer import Tokenizer

_NUMBERS = 2**25
"""Logits, attention weights of 8 heads, or activations that one call of a graph may hold."""
_UNFILTERED = Sampling()


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples and their log-probabilities.

    Attributes:
        x: values in levels, [n, *event_shape].
        log_prob: log p(x | y) of the whole event under the model itself, in nats, [n].
        log_q: log-probability of what was drawn (not of what was observed), under the distribution
            that it was drawn from, in nats, [n].
        labels: [n], or None without classes.
        first_index: sample index of the first.
    """

    x: NDArray[np.int64]
    log_prob: NDArray[np.float64]
    log_q: NDArray[np.float64]
    labels: NDArray[np.int64] | None
    first_index: int

    def __len__(self) -> int:
        return len(self.x)


@dataclass(slots=True)
class AutoregressiveEngine(Engine):
    """An autoregressive bundle, loaded on a backend. Make one with `Engine.load`."""

    kind: ClassVar[str] = "autoregressive"
    advice: ClassVar[str] = (
        "an autoregressive model has log p(x) itself, by `log_prob`; it has sample, classify and "
        "complete beside, and no latents"
    )
    _bindings: Bindings = field(default_factory=Bindings, init=False, repr=False, compare=False)
    _tokenizer: Tokenizer | None = field(default=None, init=False, repr=False, compare=False)

    def sample(
        self,
        n: int,
        labels: ArrayLike | int | None = None,
        seed: int = 0,
        first_index: int = 0,
        sampling: Sampling = _UNFILTERED,
        observed: ArrayLike | None = None,
        progress: Progress | None = None,
    ) -> Samples:
        """Draw n events; sample i depends on (seed, first_index + i) alone.

        Args:
            n: number of samples.
            labels: one for all, or [n]; needed where the model has classes and no p(x) of its own.
            seed: 0 .. 2^64 - 1.
            first_index: sample index of the first.
            sampling: temperature and filters.
            observed: values to force, one event, [*event_shape] or [1, *event_shape], or
                [n, *event_shape]; -1 is free. What is drawn is conditioned on what precedes it in
                the ordering; on all of it by `complete`.
            progress: told how many positions of how many are done.

        Raises:
            InvalidInput: an argument is wrong.
        """
        arguments.check_size("n", inputs.count("n", n, 1), 8 * self.data.length)
        parts = list(
            self.sample_batches(n, labels, seed, first_index, sampling, observed, progress)
        )
        return join(parts)

    def sample_batches(  # noqa: PLR0913 - the arguments of sample
        self,
        n: int,
        labels: ArrayLike | int | None = None,
        seed: int = 0,
        first_index: int = 0,
        sampling: Sampling = _UNFILTERED,
        observed: ArrayLike | None = None,
        progress: Progress | None = None,
        batch: int | None = None,
    ) -> Iterator[Samples]:
        """The same samples as `sample` draws of the same arguments, batch by batch as they finish.

        Args:
            n: as in `sample`, like all up to progress.
            labels: as there.
            seed: as there.
            first_index: as there.
            sampling: as there.
            observed: as there.
            progress: as there.
            batch: rows a batch; by memory where None.

        Raises:
            InvalidInput: an argument is wrong; at once, not at the first batch.
        """
        n = inputs.count("n", n, 1)
        seed, first_index = arguments.seed(seed), arguments.first_of(first_index, n)
        label = self._labels(labels, n)
        first = self.bundle.manifest.first_position
        forced = inputs.observed(observed, n, self.data, first)
        sampling = arguments.sampling(sampling)
        arguments.callback("progress", progress)
        graph = "step" if sampling.unfiltered else "step_filtered"
        signature = self.session(graph).signature
        rows = step_loop.chosen_rows(signature, self.backend.room, batch, n)
        total, done = n * (self.data.length - first), 0

        def report(positions: int) -> None:
            nonlocal done
            done += positions
            if progress is not None:
                progress(done, total)

        return (
            self._batch(
                graph,
                np.array(forced[start : start + rows]),
                None if label is None else np.array(label[start : start + rows]),
                Noise(seed, first_index + start),
                sampling,
                report,
            )
            for start in range(0, n, rows)
        )

    def _batch(
        self,
        graph: str,
        forced: NDArray[np.int64],
        label: NDArray[np.int64] | None,
        noise: Noise,
        sampling: Sampling,
        report: Callable[[int], None],
    ) -> Samples:
        size = len(forced)
        given = step_loop.filters(sampling, size, self.data.levels)
        if label is not None:
            given["label"] = label
        with self.binding(graph, size) as binding:
            drawn = step_loop.draw(
                binding,
                forced,
                given,
                first_position=self.bundle.manifest.first_position,
                prefill=step_loop.takes_blocks(self.session(graph).signature),
                on_steps=lambda steps: report(steps * size),
                noise=noise,
            )
            step_loop.check(drawn.log_p, noise.first_index)
        step_loop.check_values(drawn.values, self.data.levels)
        return Samples(
            self.data.in_place(drawn.values),
            drawn.log_p.sum(axis=1, dtype=np.float64),
            drawn.log_q.sum(axis=1, dtype=np.float64),
            label,
            noise.first_index,
        )

    def generate(  # noqa: PLR0913 - what a user may choose
        self,
        prompts: Sequence[ArrayLike],
        max_new: int | None = None,
        *,
        stop: Sequence[int] | None = None,
        labels: ArrayLike | int | None = None,
        seed: int = 0,
        first_index: int = 0,
        sampling: Sampling = _UNFILTERED,
        batch: int | None = None,
        stream: Stream | None = None,
    ) -> list[Generated]:
        """Continue prompts of different lengths; a row is what it would be alone.

        Args:
            prompts: ids of each, [p], by positions; sample first_index + i continues prompt i.
            max_new: tokens to draw after a prompt at most; up to the end of the context where None.
            stop: values that end a row, and are its last; those of the data where None.
            labels: as in `sample`, like all up to sampling.
            seed: as there.
            first_index: as there.
            sampling: as there.
            batch: rows a batch; by memory where None.
            stream: told the index of a sample and its new tokens, as they come.

        Raises:
            InvalidInput: an argument is wrong: a prompt beyond the context, or ids that are none.
        """
        request = Request(
            max_new, stop, labels, seed, first_index, sampling, batch=batch, stream=stream
        )
        return [row for part in generate_batches(self, prompts, request) for row in part]

    def _labels(self, labels: ArrayLike | int | None, n: int) -> NDArray[np.int64] | None:
        return inputs.labels(labels, n, self.data, self.bundle.manifest.label_optional)

    def complete(
        self,
        observed: ArrayLike,
        particles: int = 64,
        labels: ArrayLike | int | None = None,
        seed: int = 0,
        first_index: int = 0,
        progress: Progress | None = None,
    ) -> Completion:
        """Complete one event given all that is observed of it, also what comes later.

        Where the observed values come first in the ordering, this is exact, and so is the
        log-probability of them. Elsewhere it is sequential Monte Carlo at temperature 1, exact only
        as the particles become many; `sample` would condition each value on what precedes it alone.

        Args:
            observed: one event [*event_shape] or [t]; -1 is free.
            particles: how many completions; all are in memory at a time.
            labels: the label; needed where the model has classes and no p(x) of its own.
            seed: 0 .. 2^64 - 1.
            first_index: sample index of the first particle, whose noise it draws with.
            progress: told how many positions of how many are done.

        Raises:
            InvalidInput: an argument is wrong.
        """
        n = inputs.count("particles", particles, 1)
        arguments.check_size("particles", n, step_loop.bytes_of_row(self.session("step").signature))
        label = self._labels(labels, 1)
        noise = Noise(arguments.seed(seed), arguments.first_of(first_index, n))
        arguments.callback("progress", progress)
        event = inputs.observed(observed, 1, self.data, self.bundle.manifest.first_position)[0]
        return complete(self, event, None if label is None else int(label[0]), noise, n, progress)

    def tokenizer(self) -> Tokenizer:
        """How text becomes values, made once; errors as of `Bundle.tokenizer`."""
        with self._once:
            if self._tokenizer is None:
                self._tokenizer = self.bundle.tokenizer()
            return self._tokenizer

    @contextmanager
    def binding(self, graph: str, rows: int) -> Iterator[Binding]:
        """A loop of that many rows that no other call has; one is kept for the next call.

        Raises:
            BundleError: the weights have changed since the bundle was opened, or did so meanwhile.
        """
        session = self.session(graph)
        sizes = {"b": rows, "s": 1}
        with self._bindings.taken((graph, rows), lambda: session.bind(sizes)) as binding:
            try:
                yield binding
            except NotADistribution:
                # Weights that change meanwhile may look like this.
                self.check_files()
                raise
        self.check_files()

    def log_prob(self, x: ArrayLike, labels: ArrayLike | int | None = None) -> NDArray[np.float64]:
        """log p(x | y) of each event in nats, [n].

        Args:
            x: integers in 0 .. levels - 1, [n, *event_shape] or [n, t].
            labels: one for all, or [n]; needed where the model has classes and no p(x) of its own.

        Raises:
            InvalidInput: an argument is wrong.
        """
        return np.asarray(self.position_log_prob(x, labels).sum(axis=1, dtype=np.float64))

    def position_log_prob(
        self, x: ArrayLike, labels: ArrayLike | int | None = None
    ) -> NDArray[np.float32]:
        """log p(x_t | x_<t, y) in nats, by positions of the ordering, [n, t]; as `log_prob`."""
        events = inputs.events(x, self.data)
        label = self._labels(labels, len(events))
        found = self.parallel("log_prob", label, x=events)["log_prob"]
        step_loop.check(found, 0)
        return found

    def text_likelihood(
        self,
        ids: ArrayLike,
        stride: int | None = None,
        labels: int | None = None,
        progress: Progress | None = None,
    ) -> TextLikelihood:
        """log p of each id of a sequence of any length, by windows that slide over it.

        Args:
            ids: [n].
            stride: by which windows slide; an id is given at least length - stride ids before it,
                or all there are. Half the length where None.
            labels: of the whole sequence, where the model has classes.
            progress: told how many ids of how many are done.

        Raises:
            InvalidInput: an argument is wrong.
        """
        return text_likelihood(self, ids, stride, labels, progress)

    def classify(self, x: ArrayLike) -> Classification:
        """p(y | x) of each event by Bayes' rule, under the label prior of the training data.

        Args:
            x: integers in 0 .. levels - 1, [n, *event_shape] or [n, t].

        Raises:
            InvalidInput: x is wrong, the model has no classes, or none of them gives an event any
                probability.
        """
        return classify(self, inputs.events(x, self.data))

    def redraw(
        self, x: ArrayLike, u: ArrayLike, labels: ArrayLike | int | None = None
    ) -> NDArray[np.int64]:
        """The value that u [n, t] draws at each position, given x before it: [n, *event_shape].

        Where the model gives NaN, the values mean nothing: `log_prob` refuses such a model.

        Raises:
            InvalidInput: an argument is wrong.
        """
        events = inputs.events(x, self.data)
        drawn = inputs.uniforms("u", u, events.shape)
        label = self._labels(labels, len(events))
        values = self.parallel("redraw", label, x=events, u=drawn)[names.REDRAWN]
        return self.data.in_place(values)

    def parallel(self, graph: str, label: Array | None, **arrays: Array) -> dict[str, Array]:
        """Run a parallel graph in chunks that bound memory; arrays have the events as rows."""
        session = self.session(graph)
        n, t = arrays["x"].shape
        rows = max(1, _NUMBERS // (t * max(self.data.levels, 8 * t, 1024)))
        if label is not None:
            arrays["label"] = np.ascontiguousarray(label)
        parts = [
            session.run({name: array[i : i + rows] for name, array in arrays.items()})
            for i in range(0, n, rows)
        ]
        self.check_files()
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def compare(self) -> ParityReport:
        report = verify(self)
        self.check_files()
        return report


def join(parts: list[Samples]) -> Samples:
    """Batches of samples as one.

    Raises:
        InvalidInput: there are none.
    """
    if not parts:
        raise InvalidInput("samples: expected at least one batch, got none")
    labels = [part.labels for part in parts if part.labels is not None]
    return Samples(
        np.concatenate([part.x for part in parts]),
        np.concatenate([part.log_prob for part in parts]),
        np.concatenate([part.log_q for part in parts]),
        np.concatenate(labels) if labels else None,
        parts[0].first_index,
    )
