"""A request: one row to draw, with its own prompt, seed, filters and reasons to end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ancestral.arrays import array_of, shown
from ancestral.engine import alternatives, arguments, inputs, step_graph, step_loop
from ancestral.engine.noise import Noise
from ancestral.engine.runner import Runner
from ancestral.errors import InvalidInput
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole
from ancestral.step_tensors import LABEL

Ended = Literal["stop", "max_new", "context", "cancelled"]
"""A row ends with a stop id or stop text, after `max_new` values, at the end of the context, or
because it was cancelled."""


@dataclass(frozen=True, slots=True)
class Request:
    """One row to draw. Its values are a function of these fields and the model.

    Other requests that are drawn at the same time do not matter, except at near ties.

    Attributes:
        prompt: ids that the row begins with, [p], by positions. Empty for none, if the model has a
            start symbol.
        observed: values to keep, of one event, [*event_shape], instead of a prompt; -1 marks a free
            value. Values from the first free one on are drawn or kept, and reported.
        label: class of the row; required if the model has only p(x | y).
        seed: integer in 0 .. 2^64 - 1.
        index: sample index; the noise of the row is that of (seed, index), as in `generate` and
            `sample`.
        sampling: temperature, filters, bias and penalties.
        max_new: largest number of values after the prompt; None goes to the end of the context.
        stop: values that end the row, as its last value; None means those of the data.
        stop_text: texts that end the row. They may begin and end within tokens. The row's text ends
            before the first of them; its values end with the token that completes it. The bundle
            needs a tokenizer.
        prompt_log_p: whether log p of the prompt is computed, and reported in the first delta.
            Without it a prompt is prefilled faster, by a graph without the last projection.
        logprobs: number of most probable values that are reported at each position, 0 .. 20.
        prefix_scope: name of a scope; prompts that begin alike are prefilled once among the
            requests of a scope. A server uses a scope for each user, because the time to the first
            value shows whether someone has sent the same beginning before.

    Raises:
        InvalidInput: a field is wrong for every model: a seed, index or count out of range, a
            stop text that is empty, both a prompt and observed values, a `prompt_log_p` that is
            not a bool, or a `prefix_scope` that is not a string.

    For example:

        Request([1, 5, 7], seed=3, max_new=40, sampling=Sampling(top_p=0.95), stop_text=(".",))
    """

    prompt: ArrayLike = ()
    observed: ArrayLike | None = None
    label: int | None = None
    seed: int = 0
    index: int = 0
    sampling: Sampling = UNFILTERED
    max_new: int | None = None
    stop: Sequence[int] | None = None
    stop_text: Sequence[str] = ()
    prompt_log_p: bool = True
    logprobs: int = 0
    prefix_scope: str = ""

    def __post_init__(self) -> None:
        noise = arguments.noise(self.seed, 0, 1)
        index = whole("index", self.index, 0)
        arguments.sampling(self.sampling)
        max_new = None if self.max_new is None else whole("max_new", self.max_new, 1)
        if self.observed is not None and array_of("prompt", self.prompt).size:
            raise InvalidInput("observed: expected no prompt with it; put its values in `observed`")
        if not isinstance(self.prefix_scope, str):
            raise InvalidInput(f"prefix_scope: expected a string, got {shown(self.prefix_scope)}")
        for name, value in (
            ("seed", noise.seed),
            ("index", index),
            ("max_new", max_new),
            ("stop_text", _stop_texts(self.stop_text)),
            ("prompt_log_p", arguments.flag("prompt_log_p", self.prompt_log_p)),
            ("logprobs", alternatives.checked(self.logprobs)),
        ):
            object.__setattr__(self, name, value)


@dataclass(frozen=True, slots=True)
class Task:
    """A request with checked fields, as a row of a step graph takes it.

    Attributes:
        number: position of the request in the input.
        start: inputs of a loop of one row.
        index: sample index, for errors.
        sampling: temperature, filters, bias and penalties.
        begin: position of the first value that is reported.
        end: position at which the row ends, unless it stops earlier.
        ended: why it ends there.
        stop: values that end the row.
        stop_text: texts that end the row.
        prompt_log_p: whether log p of the prompt is asked for.
        logprobs: number of most probable values that are reported at each position.
        prefix_scope: scope in which the beginning of the prompt is shared.
    """

    number: int
    start: step_loop.Start
    index: int
    sampling: Sampling
    begin: int
    end: int
    ended: Ended
    stop: frozenset[int]
    stop_text: tuple[str, ...]
    prompt_log_p: bool
    logprobs: int
    prefix_scope: str

    @property
    def label(self) -> int | None:
        """Label input of the row; None without classes."""
        label = self.start.given.get(LABEL)
        return None if label is None else int(label[0])


def task_of(runner: Runner, request: object, number: int) -> Task:
    """Return a request as a row of this model's step graph.

    Args:
        runner: the engine.
        request: the request.
        number: its position in the input, for errors.

    Raises:
        InvalidInput: it is not a `Request`, or a field does not fit the model.
        BundleError: the bundle does not have the step graph that the request needs.
    """
    if not isinstance(request, Request):
        raise InvalidInput(f"request {number}: expected a Request, got {shown(request)}")
    try:
        return _task(runner, request, number)
    except InvalidInput as error:
        raise InvalidInput(f"request {number}: {error}") from error


def _task(runner: Runner, request: Request, number: int) -> Task:
    data = runner.data
    observed, begin = _observed(runner, request)
    wanted = begin + (data.length + 1 if request.max_new is None else request.max_new)
    stops = data.stop if request.stop is None else request.stop
    ids = arguments.members("stop", stops, ordered=False)
    if request.stop_text and data.tokenizer is None:
        raise InvalidInput(
            "stop_text: the bundle has no tokenizer; pass the ids that end the row as `stop`"
        )
    given = step_graph.labelled(_label(runner, request.label))
    sampling = arguments.sampling(request.sampling, data.levels)
    logprobs = alternatives.checked(request.logprobs, data.levels)
    # Refused here, by itself: the slots would find it when they hold other requests.
    graph = step_graph.graph_of(sampling, runner.bundle.manifest.graphs, logprobs)
    runner.bundle.graph_name(graph, "portable")
    noise = Noise(request.seed, request.index)
    return Task(
        number=number,
        start=step_loop.Start(observed, given, runner.first_position, noise=noise),
        index=request.index,
        sampling=sampling,
        begin=begin,
        end=min(wanted, data.length),
        ended="context" if wanted > data.length else "max_new",
        stop=frozenset(whole("stop", each, 0, data.levels - 1) for each in ids),
        stop_text=tuple(request.stop_text),
        prompt_log_p=request.prompt_log_p,
        logprobs=logprobs,
        prefix_scope=request.prefix_scope,
    )


def _observed(runner: Runner, request: Request) -> tuple[NDArray[np.int64], int]:
    """Return observed values by positions, [1, t], -1 where free, and how many come first."""
    data = runner.data
    if request.observed is not None:
        first = runner.first_position
        observed = np.array(inputs.observed(request.observed, 1, data, first))
        return observed, int(np.argmin(np.append(observed[0] >= 0, False)))
    prompt = inputs.prompt("prompt", request.prompt, data, runner.first_position)
    observed = np.full((1, data.length), -1, np.int64)
    observed[0, : len(prompt)] = prompt
    return observed, len(prompt)


def _label(runner: Runner, label: object) -> NDArray[np.int64] | None:
    """Return the label input of one row, [1]; None without classes."""
    classes = runner.data.num_classes
    if classes is None:
        if label is not None:
            raise InvalidInput("label: the model has no classes; leave it out")
        return None
    if label is None and not runner.bundle.manifest.label_optional:
        raise InvalidInput(
            f"`label` is required: the model is conditional, p(x | y); pass a label in "
            f"0 .. {classes - 1}"
        )
    return np.array([classes if label is None else whole("label", label, 0, classes - 1)])


def _stop_texts(texts: object) -> tuple[str, ...]:
    """Return stop texts, given as a list or another sequence.

    Raises:
        InvalidInput: it is a single string, or a text is not a string or is empty.
    """
    if not isinstance(texts, Sequence) or isinstance(texts, str | bytes):
        raise InvalidInput(f"stop_text: expected a list of texts, got {shown(texts)}")
    for text in texts:
        if not isinstance(text, str) or not text:
            raise InvalidInput(f"stop_text: expected texts that are not empty, got {shown(text)}")
    return tuple(texts)
