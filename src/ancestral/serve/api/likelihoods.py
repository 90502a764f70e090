"""/v1/ancestral/log_prob and classify: log-probabilities of events and texts, and of classes."""

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ancestral.arrays import shown
from ancestral.engine import AutoregressiveEngine, inputs
from ancestral.errors import InvalidInput
from ancestral.serve.api.arrays import (
    Array,
    Labels,
    Values,
    array,
    by_sites,
    check_size,
    each_label,
    labels_of,
    rows,
)
from ancestral.serve.api.jobs import Fields, JobBody, Target, Work, fields_of
from ancestral.serve.api.text import MOST_IDS, pieces, tokenizer_of
from ancestral.serve.calls import Report
from ancestral.serve.graphs import check_graphs
from ancestral.step_tensors import TOP
from ancestral.units import bits_per_dim


class LogProbBody(JobBody):
    """Body of /v1/ancestral/log_prob.

    It has `x`, as in `log_prob` of an engine; or `text` or `ids`, as in `text_likelihood`.
    """

    x: Array | None = None
    """Events of levels, [n, *event_shape]."""
    text: str | None = None
    """Text of any length, for a bundle with text."""
    ids: Array | None = None
    """Ids of a text of any length, [t]."""
    labels: Labels = None
    """Class of all events, or of each, [n]; required if the model has only p(x | y)."""
    top: Annotated[int, Field(ge=1, le=TOP)] | None = None
    """Number of most probable values of each position in the answer; null for none."""
    path: Literal["parallel", "steps"] = "parallel"
    """How log p is computed: "parallel", in one pass over all positions, or "steps", position by
    position as in sampling."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Number of ids by which windows slide over a text; null is half the context. Not for `x`."""
    positions: bool = False
    """Whether the answer for `x` has `position_log_prob`; that for a text always has every id's."""


class TopAnswer(BaseModel):
    """The k most probable values of each position, given the values before it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ids: Values
    """Values, the most probable first, [n, *event_shape, k]; of a text [t, k]. -1 for a first
    position that has no probability."""
    log_prob: Values
    """Their log-probabilities, in nats, of the same shape; null is -inf."""
    most_likely: Values
    """Whether the given value is the most probable one, [n, *event_shape]; of a text [t]."""


class EventsAnswer(BaseModel):
    """Log-probabilities of events."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    log_prob: Values
    """log p(x | y) of each event, in nats, [n]; null is -inf. Given the first value for a model
    without a start symbol."""
    bits_per_dim: Values
    """-log p / (dims ln 2) of each event, in bits/dim, [n]."""
    position_log_prob: Values | None = None
    """log p of each value given those before it, in nats, [n, *event_shape], if asked for."""
    top: TopAnswer | None = None
    """Most probable values of each position, if asked for."""


class TextAnswer(BaseModel):
    """Log-probabilities of a text; fields as in `TextLikelihood`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    ids: Values
    """Ids of the text, [t]."""
    tokens: list[str] | None
    """Text that each id adds, [t]; empty for an id that ends within a character. Null for a bundle
    without text."""
    log_prob: Values
    """log p of each id, in nats, [t]; null is -inf, and 0 the first id if `first_given`."""
    total: float | None
    """Sum of the log-probabilities, in nats; null is -inf."""
    perplexity: float | None
    """exp(-total / scored), without a unit; null is infinite."""
    bits_per_byte: float | None
    """-log2 p of the ids divided by the bytes of `text`, in bits/byte: an upper bound for the text,
    which has other tokenisations. Null for `ids`, and if it is infinite."""
    decodes: bool | None
    """Whether the ids decode to `text`; if not, bits_per_byte is only about the ids. Null for
    `ids`."""
    seen: Values
    """Number of ids right before each one that it was conditioned on, [t]."""
    scored: int
    """Number of ids that have a probability."""
    context: int
    """Number of positions of a window."""
    stride: int
    """Number of ids by which windows slide."""
    first_given: bool
    """Whether the first id has no probability, so that the total is log p(x_2 .. | x_1)."""
    top: TopAnswer | None = None
    """Most probable ids of each position, if asked for."""


class ClassifyBody(JobBody):
    """Body of /v1/ancestral/classify; fields as in `classify` of an engine."""

    x: Array
    """Events of levels, [n, *event_shape]."""


class ClassifyAnswer(BaseModel):
    """Probabilities of the k classes of each event; fields as in `Classification`."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    log_posterior: Values
    """log p(y | x), in nats, [n, k], by Bayes' rule; null is -inf."""
    log_joint: Values
    """log p(x | y) + log p(y), in nats, [n, k]; null is -inf."""
    label: Values
    """Most probable class of each event, [n]."""


def log_prob(target: Target, body: LogProbBody) -> Work:
    """Return the work that computes the log-probabilities of events or of a text.

    Raises:
        InvalidInput: a field has a wrong value.
        Refused: there are too many events, or the bundle has no exact log-probabilities.
    """
    engine = target.served.autoregressive()
    given = [name for name in ("x", "text", "ids") if getattr(body, name) is not None]
    if not given:
        raise InvalidInput("one of the fields `x`, `text` and `ids` is required")
    if len(given) > 1:
        raise InvalidInput(
            f"x: expected one of the fields x, text and ids, got {' and '.join(given)}"
        )
    if body.path == "steps" and body.top is not None:
        raise InvalidInput("top: expected path='parallel', got 'steps'; leave one of them out")
    if body.path == "steps":
        check_graphs(engine, "step")
    else:
        check_graphs(engine, "log_prob" if body.top is None else "top_log_prob")
    return _events(target, body, engine) if body.x is not None else _text(target, body, engine)


def classify(target: Target, body: ClassifyBody) -> Work:
    """Return the work that classifies events.

    Raises:
        InvalidInput: `x` has a wrong value.
        Refused: there are too many events, or the bundle cannot classify.
    """
    engine, x = target.served.autoregressive(), array("x", body.x)
    target.server.check_rows(rows(x), "x")
    check_graphs(engine, "log_prob")
    check_size("x", rows(x) * (engine.data.num_classes or 1))
    return target.in_thread(lambda report: fields_of(engine.classify(x)), rows(x))


def _events(target: Target, body: LogProbBody, engine: AutoregressiveEngine) -> Work:
    x, labels, data = array("x", body.x), labels_of(body.labels), engine.data
    if body.stride is not None:
        raise InvalidInput("stride: only used with text and ids; leave it out")
    target.server.check_rows(rows(x), "x")
    check_size("top", rows(x) * data.length * (body.top or 1))

    def call(report: Report) -> Fields:
        fields: dict[str, object] = {}
        if body.top is None:
            nats = engine.position_log_prob(x, labels, path=body.path)
        else:
            found = engine.log_prob(x, labels, top=body.top)
            nats, best = found.log_prob, fields_of(found.top)
            fields["top"] = {name: by_sites(values, data) for name, values in best.items()}
        whole = nats.sum(axis=1, dtype=np.float64)
        fields |= {"log_prob": whole, "bits_per_dim": bits_per_dim(whole, data.event_shape)}
        return fields | ({"position_log_prob": by_sites(nats, data)} if body.positions else {})

    return target.in_thread(call, rows(x))


def _text(target: Target, body: LogProbBody, engine: AutoregressiveEngine) -> Work:
    ids = _ids(target, body, engine)
    name = "ids" if body.text is None else "text"
    check_size(name, len(ids), MOST_IDS)
    check_size("top", len(ids) * (body.top or 1))
    (label,) = each_label(engine, labels_of(body.labels), 1)
    tokenizer = target.served.tokenizer

    def call(report: Report) -> Fields:
        found = engine.text_likelihood(
            ids, body.stride, label, report, path=body.path, top=body.top
        )
        text, bits, decodes = body.text, None, None
        if text is not None and tokenizer is not None:
            bits = found.bits_per_byte(len(text.encode()))
            decodes = tokenizer.decode(ids.tolist()) == text
        fields = fields_of(found) | {
            "ids": ids,
            "tokens": None if tokenizer is None else pieces(tokenizer, ids.tolist()),
            "total": found.total,
            "perplexity": found.perplexity,
            "bits_per_byte": bits,
            "decodes": decodes,
            "scored": found.scored,
        }
        return fields | {"top": None if found.top is None else fields_of(found.top)}

    return target.in_thread(call, 1)


def _ids(target: Target, body: LogProbBody, engine: AutoregressiveEngine) -> NDArray[np.int64]:
    """Return the ids of a body, [t].

    Raises:
        InvalidInput: they are not ids of the model, or the text has none.
        Refused: the bundle has no text.
    """
    if body.text is None:
        return inputs.ids("ids", array("ids", body.ids), engine.data.levels)
    ids = tokenizer_of(target.served).encode(body.text)
    if not ids:
        raise InvalidInput(f"text: expected at least one token, got {shown(body.text)}")
    return np.array(ids, np.int64)
