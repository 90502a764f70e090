"""Rows of samples: whole events, continuations of prompts, and samples with latents."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.bulk.settings import SampleSettings
from ancestral.bulk.table import Columns
from ancestral.engine import AutoregressiveEngine, LatentEngine
from ancestral.engine.prompt_batch import Options
from ancestral.errors import InvalidInput

INDICES = 2**32
"""Sample indices of one seed."""


@dataclass(frozen=True, slots=True)
class Span:
    """Consecutive rows that share a seed.

    Attributes:
        seed: seed of the noise.
        first_index: sample index of the first row.
        first: row of the job.
        count: number of rows.
    """

    seed: int
    first_index: int
    first: int
    count: int


def spans(seed: int, first: int, count: int) -> Iterator[Span]:
    """Yield the noise of rows of a job: row i has index i mod 2^32 of the seed + i // 2^32.

    >>> [(span.seed, span.first_index, span.count) for span in spans(7, 2**32 - 1, 3)]
    [(7, 4294967295, 1), (8, 0, 2)]
    """
    end = first + count
    while first < end:
        index = first % INDICES
        some = min(end - first, INDICES - index)
        yield Span(seed + first // INDICES, index, first, some)
        first += some


def check_seed(seed: int, n: int) -> None:
    """Check that there is a seed for each row.

    Raises:
        InvalidInput: the last seed is beyond 2^64 - 1.
    """
    if n and seed + (n - 1) // INDICES >= 2**64:
        raise InvalidInput(
            f"seed: expected at most {2**64 - 1 - (n - 1) // INDICES} for {n} rows, got {seed}; "
            f"every 2^32 rows use the next seed"
        )


def smallest(values: NDArray[np.int64], levels: int) -> NDArray[np.generic]:
    """Return values in 0 .. levels - 1 in the smallest type of integers."""
    return values.astype(np.min_scalar_type(levels - 1))


@dataclass(frozen=True, slots=True)
class EventDraws:
    """Whole events of an autoregressive model.

    Attributes:
        engine: the engine.
        settings: settings of the draw.
    """

    engine: AutoregressiveEngine
    settings: SampleSettings

    def columns(self, first: int, count: int) -> Columns:
        """Return x, log_prob, log_q and label of the rows first .. first + count - 1."""
        return _over_spans(self._drawn, self.settings.seed, first, count)

    def _drawn(self, span: Span) -> Columns:
        labels = _labels(self.settings, span)
        (drawn,) = self.engine.sample_batches(
            span.count,
            labels,
            span.seed,
            span.first_index,
            self.settings.filters.sampling,
            batch=span.count,
        )
        found: Columns = {
            "x": smallest(drawn.x, self.engine.data.levels),
            "log_prob": drawn.log_prob,
            "log_q": drawn.log_q,
        }
        return found | _label(labels)


@dataclass(frozen=True, slots=True)
class PromptDraws:
    """Continuations of prompts; row i continues prompt i mod len(prompts).

    Attributes:
        engine: the engine.
        settings: settings of the draw.
        prompts: ids of each prompt.
    """

    engine: AutoregressiveEngine
    settings: SampleSettings
    prompts: Sequence[Sequence[int]]

    def columns(self, first: int, count: int) -> Columns:
        """Return prompt, tokens, text, log_prob, log_q, ended and label of rows."""
        return _over_spans(self._drawn, self.settings.seed, first, count)

    def _drawn(self, span: Span) -> Columns:
        from ancestral.engine.generate import generate_batches

        given, settings = self.settings.prompts, self.settings
        assert given is not None
        which = (span.first + np.arange(span.count)) % len(self.prompts)
        labels = _labels(settings, span)
        options = Options(
            given.max_new,
            given.stop,
            labels,
            span.seed,
            span.first_index,
            settings.filters.sampling,
            span.count,
            prompt_log_p=False,
        )
        (rows,) = generate_batches(self.engine, [self.prompts[i] for i in which.tolist()], options)
        found: Columns = {
            "prompt": which.astype(np.int64),
            "tokens": [row.tokens.astype(np.int32) for row in rows],
            "log_prob": np.array([row.log_p.sum(dtype=np.float64) for row in rows]),
            "log_q": np.array([row.log_q.sum(dtype=np.float64) for row in rows]),
            "ended": [row.ended for row in rows],
        }
        if self.engine.data.tokenizer is not None:
            decode = self.engine.tokenizer().decode
            found["text"] = [decode(row.tokens.tolist()) for row in rows]
        return found | _label(labels)


@dataclass(frozen=True, slots=True)
class LatentDraws:
    """Events of a latent variable model, with their latents.

    Attributes:
        engine: the engine.
        settings: settings of the draw.
    """

    engine: LatentEngine
    settings: SampleSettings

    def columns(self, first: int, count: int) -> Columns:
        """Return x, z, log_prior, log_likelihood and label of rows."""
        return _over_spans(self._drawn, self.settings.seed, first, count)

    def _drawn(self, span: Span) -> Columns:
        settings = self.settings
        labels = _labels(settings, span)
        drawn = self.engine.sample(
            span.count,
            labels,
            span.seed,
            span.first_index,
            settings.filters.sampling,
            settings.mean,
        )
        x, z = drawn.x, drawn.z
        if x.dtype.kind == "i":
            x = smallest(x, self.engine.data.levels)
        if z.dtype.kind == "i" and self.engine.prior is not None:
            z = smallest(z, self.engine.prior.data.levels)
        found: Columns = {"x": x, "z": z, "log_prior": drawn.log_prior}
        if drawn.log_likelihood is not None:
            found["log_likelihood"] = drawn.log_likelihood
        return found | _label(labels)


def joined(parts: Sequence[Columns]) -> Columns:
    """Return the columns of consecutive rows as one."""
    if len(parts) == 1:
        return parts[0]
    found: Columns = {}
    for name, column in parts[0].items():
        if isinstance(column, np.ndarray):
            found[name] = np.concatenate([np.asarray(part[name]) for part in parts])
        else:
            found[name] = [value for part in parts for value in part[name]]  # type: ignore[assignment]
    return found


def _over_spans(draw: Callable[[Span], Columns], seed: int, first: int, count: int) -> Columns:
    return joined([draw(span) for span in spans(seed, first, count)])


def _labels(settings: SampleSettings, span: Span) -> NDArray[np.int64] | None:
    """Return the labels of rows, [count]; None without labels."""
    if settings.labels is None:
        return None
    every = np.array(settings.labels, np.int64)
    return every[(span.first + np.arange(span.count)) % len(every)]


def _label(labels: NDArray[np.int64] | None) -> Columns:
    return {} if labels is None else {"label": labels.astype(np.int32)}
