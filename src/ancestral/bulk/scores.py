"""Rows of scores: log-probabilities, classes, bounds and latents of events and texts in files."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from ancestral.bulk.data import Data
from ancestral.bulk.draws import joined, spans
from ancestral.bulk.events import events_of
from ancestral.bulk.rows import Rows
from ancestral.bulk.settings import (
    BoundSettings,
    ClassifySettings,
    EncodeSettings,
    LogProbSettings,
)
from ancestral.bulk.table import Columns
from ancestral.engine import AutoregressiveEngine, LatentEngine
from ancestral.errors import InvalidInput

Score = Callable[[Rows, int], Columns]
"""Returns the columns of rows of data; the number is the index of the first one in the job."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of rows of data.

    Attributes:
        data: the files.
        score: function that computes the columns of a batch.
    """

    data: Data
    score: Score

    def columns(self, first: int, count: int) -> Columns:
        """Return the columns of the rows first .. first + count - 1.

        Raises:
            InvalidInput: a row is refused; the message names its file and its number.
        """
        found = []
        for file, row, rows in self.data.read(first, first + count):
            found.append(located(self.score, rows, first, partial(self._place, file, row)))
            first += len(rows)
        return joined(found)

    def _place(self, file: int, row: int, i: int) -> str:
        return self.data.place(file, row + i)


def located(score: Score, rows: Rows, first: int, place: Callable[[int], str]) -> Columns:
    """Return the columns of rows; an error names the row.

    Args:
        score: function that computes the columns.
        rows: the rows.
        first: index of the first row in the job.
        place: function that returns the name of a row, by its number in `rows`.

    Raises:
        InvalidInput: a row is refused.
    """
    try:
        return score(rows, first)
    except InvalidInput as error:
        # The batch is scored again row by row, only to find the row.
        for i in range(len(rows)):
            try:
                score(rows.part(i, i + 1), first + i)
            except InvalidInput as own:
                raise InvalidInput(f"{place(i)}: {own}") from own
        raise InvalidInput(f"{place(0)}: {error}") from error


def log_probs(engine: AutoregressiveEngine, settings: LogProbSettings) -> Score:
    """Return the function that computes log p of events or texts, in nats.

    Raises:
        InvalidInput: the model does not have the label of the settings.
    """
    classes = engine.data.num_classes
    if settings.label is not None:
        engine.labels(settings.label, 1)
    needed = classes is not None and not engine.bundle.manifest.label_optional

    def score(rows: Rows, first: int) -> Columns:
        if isinstance(rows.values, list) and settings.binarise is None:
            return _texts(engine, rows.values, settings)
        x = events_of(rows, first, engine.data, settings.binarise)
        labels = _labels(rows, settings.label, classes is not None)
        if needed and labels is None:
            raise InvalidInput(
                f"`--label` is required: the model is conditional, p(x | y), and the data have no "
                f"labels; pass a label in 0 .. {(classes or 1) - 1}, or data with labels y"
            )
        found: Columns = {"log_prob": engine.log_prob(x, labels)}
        return found | _label(labels, len(rows))

    return score


def classes(engine: AutoregressiveEngine, settings: ClassifySettings) -> Score:
    """Return the function that computes p(y | x) of events."""

    def score(rows: Rows, first: int) -> Columns:
        found = engine.classify(events_of(rows, first, engine.data, settings.binarise))
        return {
            "label": found.label.astype(np.int32),
            "log_posterior": found.log_posterior,
            "log_joint": found.log_joint,
        }

    return score


def bounds(engine: LatentEngine, settings: BoundSettings) -> Score:
    """Return the function that computes lower bounds on log p(x) of events, in nats."""

    def score(rows: Rows, first: int) -> Columns:
        x = events_of(rows, first, engine.data, settings.binarise)
        labels = _labels(rows, settings.label, settings.labelled)
        if settings.labelled and labels is None:
            raise InvalidInput("--labelled: the data have no labels y or label; leave it out")
        parts = []
        for span in spans(settings.seed, first, len(rows)):
            begin = span.first - first
            some = slice(begin, begin + span.count)
            parts.append(
                _bound(
                    engine,
                    x[some],
                    labels[some] if isinstance(labels, np.ndarray) else labels,
                    settings,
                    (span.seed, span.first_index),
                )
            )
        return joined(parts) | _label(labels, len(rows))

    return score


def encodings(engine: LatentEngine, settings: EncodeSettings) -> Score:
    """Return the function that computes the parameters of q(z | x), or codes, of events."""

    def score(rows: Rows, first: int) -> Columns:
        return dict(engine.encode(events_of(rows, first, engine.data, settings.binarise)))

    return score


def _bound(
    engine: LatentEngine,
    x: NDArray[np.generic],
    labels: NDArray[np.int64] | int | None,
    settings: BoundSettings,
    noise: tuple[int, int],
) -> Columns:
    """Return the bounds of events whose noise has this seed and first index."""
    seed, first_index = noise
    found = engine.bound(
        x,
        settings.k,
        seed,
        labels=labels,
        proposal=settings.proposal,
        first_index=first_index,
    )
    names = ("elbo", "iwae", "reconstruction", "kl", "stderr_elbo", "stderr_iwae", "ess")
    columns: Columns = {name: getattr(found, name) for name in names}
    if found.kl_closed is not None:
        columns["kl_closed"] = found.kl_closed
    return columns


def _texts(engine: AutoregressiveEngine, texts: list[str], settings: LogProbSettings) -> Columns:
    """Return log p of each text in nats, and the numbers of its tokens and bytes.

    Raises:
        InvalidInput: a text has no tokens, or the bundle has no tokenizer.
    """
    encode = engine.tokenizer().encode
    found = [
        engine.text_likelihood(encode(text), settings.stride, settings.label) for text in texts
    ]
    return {
        "log_prob": np.array([each.total for each in found]),
        "tokens": np.array([each.scored for each in found], np.int64),
        "bytes": np.array([len(text.encode()) for text in texts], np.int64),
    }


def _labels(rows: Rows, label: int | None, wanted: bool) -> NDArray[np.int64] | int | None:
    """Return the labels of rows: the job's, or those in the data."""
    if label is not None:
        return label
    return rows.labels if wanted else None


def _label(labels: NDArray[np.int64] | int | None, n: int) -> Columns:
    if labels is None:
        return {}
    return {"label": np.broadcast_to(np.asarray(labels, np.int32), n).copy()}
