"""What the engine of an autoregressive model offers: samples, log-probabilities, completions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.engine import arguments, budget, inputs, likelihood, sample
from ancestral.engine.classify import Classification, classify
from ancestral.engine.generate import Generated, Request, Stream, generate_batches
from ancestral.engine.particles import Completion, complete
from ancestral.engine.progress import Progress
from ancestral.engine.runner import Runner
from ancestral.engine.sample import Samples
from ancestral.engine.text_likelihood import TextLikelihood, text_likelihood
from ancestral.engine.verify import verify
from ancestral.parity import ParityReport
from ancestral.sampling import Sampling
from ancestral.scalars import whole
from ancestral.step_tensors import REDRAWN

_UNFILTERED = Sampling()


@dataclass(slots=True)
class AutoregressiveMethods(Runner):
    """The methods of an `AutoregressiveEngine`."""

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
            progress: called with how many positions of how many are done.

        Raises:
            InvalidInput: an argument is wrong.
        """
        budget.check_size("n", whole("n", n, 1), 8 * self.data.length)
        draw = sample.checked(self, n, labels, seed, first_index, sampling, observed)
        return sample.join(list(sample.sample_batches(self, draw, None, progress)))

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
        """The same samples as `sample` draws, batch by batch as they finish.

        Arguments as in `sample`; and `batch`, rows a batch, by memory where None.

        Raises:
            InvalidInput: an argument is wrong; at once, not at the first batch.
        """
        draw = sample.checked(self, n, labels, seed, first_index, sampling, observed)
        return sample.sample_batches(self, draw, batch, progress)

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
        """Continue prompts of different lengths; a row is what it would be by itself.

        Arguments as in `sample_batches`; and, for a prompt in place of observed values:

        - `prompts`, ids of each, [p], by positions; sample first_index + i continues prompt i;
        - `max_new`, tokens to draw after a prompt at most; up to the end of the context where None;
        - `stop`, values that end a row, and are its last; those of the data where None;
        - `stream`, called with the index of a sample and its new tokens, as they come.

        Raises:
            InvalidInput: an argument is wrong: a prompt beyond the context, or ids that are none.
        """
        request = Request(
            max_new, stop, labels, seed, first_index, sampling, batch=batch, stream=stream
        )
        return [row for part in generate_batches(self, prompts, request) for row in part]

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
            progress: called with how many positions of how many are done.

        Raises:
            InvalidInput: an argument is wrong.
        """
        n = whole("particles", particles, 1)
        budget.check_size("particles", n, budget.bytes_of_row(self.session("step").signature))
        label, noise = self.labels(labels, 1), arguments.noise(seed, first_index, n)
        arguments.callback("progress", progress)
        event = inputs.observed(observed, 1, self.data, self.first_position)[0]
        return complete(self, event, None if label is None else int(label[0]), noise, n, progress)

    def log_prob(self, x: ArrayLike, labels: ArrayLike | int | None = None) -> NDArray[np.float64]:
        """log p(x | y) of each event in nats, [n].

        Args:
            x: integers in 0 .. levels - 1, [n, *event_shape] or [n, t].
            labels: one for all, or [n]; needed where the model has classes and no p(x) of its own.

        Raises:
            InvalidInput: an argument is wrong.
        """
        return likelihood.log_prob(self, x, labels)

    def position_log_prob(
        self, x: ArrayLike, labels: ArrayLike | int | None = None
    ) -> NDArray[np.float32]:
        """log p(x_t | x_<t, y) in nats, by positions of the ordering, [n, t]; as `log_prob`."""
        return likelihood.position_log_prob(self, x, labels)

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
            progress: called with how many ids of how many are done.

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
        label = self.labels(labels, len(events))
        return self.data.in_place(self.parallel("redraw", label, x=events, u=drawn)[REDRAWN])

    def compare(self) -> ParityReport:
        """Replay the known answers."""
        return verify(self)
