"""Samples of two machines that differ: whether the first difference of a row is a near tie.

A value is drawn by inverse CDF: the uniform u lies between two edges of the cumulative
distribution. Machines round the edges differently, so that they may draw different values where u
is close to an edge, or where a filter almost keeps, or almost drops, another value. After the first
difference, two rows have different pasts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy.typing import NDArray

from ancestral.bulk.draws import spans
from ancestral.bulk.settings import SampleSettings
from ancestral.bulk.table import Columns
from ancestral.engine import AutoregressiveEngine, Sampling
from ancestral.engine.comparison import Limits
from ancestral.philox import uniforms
from ancestral.sampling import LOGIT_BIAS
from ancestral.step_tensors import LOGITS

_NEGLIGIBLE = -100.0
"""Nats below the maximum from which on a value has no weight in float32."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of a draw, and how near its filters are to keeping other values.

    Attributes:
        p: probability of each value, [v].
        possible: whether the value has a weight before the filters, [v].
        gap: least distance of a logit from the threshold of a filter, in nats after the
            temperature; infinite without filters.
        margin: least distance of the probability before a value from that of top-p; infinite
            without it.
    """

    p: Float64[np.ndarray, " v"]
    possible: Bool[np.ndarray, " v"]
    gap: float
    margin: float

    @classmethod
    def of(
        cls, logits: Float64[np.ndarray, " v"], past: NDArray[np.int64], given: int, how: Sampling
    ) -> "Distribution":
        """Return the distribution after bias, penalties, temperature and filters.

        Args:
            logits: logits of the model.
            past: values before this one, [m].
            given: how many of them were given, as a prompt is.
            how: settings of the draw.
        """
        z = _adjusted(logits, past, given, how)
        z = (z - z.max()) / (how.temperature or 1.0)
        possible = z > _NEGLIGIBLE
        threshold, gap, margin = _threshold(np.sort(z[possible])[::-1], how)
        w = np.where(z >= threshold, np.exp(z), 0.0)
        if how.temperature == 0:
            w = np.eye(len(z))[z.argmax()]
        return cls(w / w.sum(), possible, gap, margin)

    def near_tie(self, pair: tuple[int, int], u: float, edge: float, gap: float) -> bool:
        """Return whether two machines may draw these two values from the same uniform.

        Args:
            pair: the values.
            u: the uniform.
            edge: largest distance of u from an edge, or of `margin`, for the two together.
            gap: largest `gap` for the two together.
        """
        low, high = sorted(pair)
        if (np.abs(np.cumsum(self.p)[low:high] - u) <= edge).all():
            return True
        return bool((self.gap <= gap or self.margin <= edge) and self.possible[[low, high]].all())


def near_ties(
    engine: AutoregressiveEngine,
    settings: SampleSettings,
    prompts: Sequence[Sequence[int]],
    rows: tuple[NDArray[np.int64], Columns, Columns],
    limits: Limits,
) -> Bool[np.ndarray, " n"]:
    """Return for each row whether its first difference is a near tie.

    Args:
        engine: the engine that drew the rows again.
        settings: settings of the draws.
        prompts: ids of each prompt; empty for whole events.
        rows: index of each row in the job, the columns of the part, and those that were drawn
            again; each row has different values.
        limits: limits of one machine; two together may be twice as far apart.
    """
    index, stored, drawn = rows
    how = settings.filters.sampling
    scale = max(1.0, 1 / how.temperature) if how.temperature else 1.0
    scale *= 2 * max(how.repetition_penalty, 1 / how.repetition_penalty)
    edge = scale * (limits.cdf if how.unfiltered else limits.filtered)
    pairs = [_values(engine, settings, prompts, columns) for columns in (stored, drawn)]
    found = np.zeros(len(index), bool)
    for i, row in enumerate(index.tolist()):
        given, (old, new) = pairs[0][i][0], (each[i][1] for each in pairs)
        length = min(len(old), len(new))
        differ = np.flatnonzero(old[:length] != new[:length])
        if not len(differ):
            # One row has ended earlier, although both have the same values.
            continue
        at = int(differ[0])
        logits = _logits(engine, settings, row, new[:at])
        (span,) = spans(settings.seed, row, 1)
        u = float(uniforms(span.seed, np.array([span.first_index]), np.array([at]))[0, 0])
        distribution = Distribution.of(logits, new[:at], given, how)
        pair = int(old[at]), int(new[at])
        found[i] = distribution.near_tie(pair, u, edge, scale * limits.gap)
    return found


def _values(
    engine: AutoregressiveEngine,
    settings: SampleSettings,
    prompts: Sequence[Sequence[int]],
    columns: Columns,
) -> list[tuple[int, NDArray[np.int64]]]:
    """Return how many values of each row were given, and its values by positions."""
    if settings.prompts is None:
        x = engine.data.in_order(np.asarray(columns["x"]).astype(np.int64))
        return [(engine.first_position, row) for row in x]
    found = []
    for which, tokens in zip(columns["prompt"], columns["tokens"], strict=True):
        prompt = prompts[int(which)]
        found.append((len(prompt), np.array([*prompt, *np.asarray(tokens).tolist()], np.int64)))
    return found


def _logits(
    engine: AutoregressiveEngine, settings: SampleSettings, row: int, past: NDArray[np.int64]
) -> Float64[np.ndarray, " v"]:
    """Return the logits of the value that follows others in a row of the job, [v]."""
    x = np.zeros((1, engine.data.length), np.int64)
    x[0, : len(past)] = past
    label = None if settings.labels is None else settings.labels[row % len(settings.labels)]
    logits = engine.parallel(LOGITS, engine.labels(label, 1), x=x)[LOGITS]
    return np.asarray(logits[0, len(past)], np.float64)


def _adjusted(
    logits: Float64[np.ndarray, " v"], past: Int64[np.ndarray, " m"], given: int, how: Sampling
) -> Float64[np.ndarray, " v"]:
    """Return logits after the bias and the penalties of values that have occurred."""
    if not how.adjusted:
        return logits
    levels = len(logits)
    seen = np.bincount(past, minlength=levels) > 0
    times = np.bincount(past[given:], minlength=levels)
    z = logits + np.asarray(how.settings(levels)[LOGIT_BIAS], np.float64)
    repeated = np.where(z > 0, z / how.repetition_penalty, z * how.repetition_penalty)
    z = np.where(seen, repeated, z)
    return np.asarray(z - how.presence_penalty * (times > 0) - how.frequency_penalty * times)


def _threshold(ordered: Float64[np.ndarray, " v"], how: Sampling) -> tuple[float, float, float]:
    """Return the lowest logit that the filters keep, and the gap and margin of `Distribution`.

    Args:
        ordered: logits minus their maximum after the temperature, the highest first.
        how: settings of the draw.
    """
    top_k = 1 if how.temperature == 0 else how.top_k
    threshold, gap, margin = -math.inf, math.inf, math.inf
    if top_k is not None and top_k < len(ordered):
        threshold = float(ordered[top_k - 1])
        gap = threshold - float(ordered[top_k])
    if how.temperature == 0:
        return threshold, gap, margin
    if how.top_p < 1:
        w = np.exp(ordered[ordered >= threshold])
        before = (np.cumsum(w) - w) / w.sum()
        kept = int((before < how.top_p).sum())
        margin = float(np.abs(before - how.top_p).min())
        threshold = max(threshold, float(ordered[kept - 1]))
        if kept < len(ordered):
            gap = min(gap, float(ordered[kept - 1] - ordered[kept]))
    if how.min_p > 0:
        lowest = math.log(how.min_p)
        gap = min(gap, float(np.abs(ordered - lowest).min()))
        threshold = max(threshold, lowest)
    return threshold, gap, margin
