"""Rows of a part compared with the same rows, computed again."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.bulk.near_ties import near_ties
from ancestral.bulk.settings import ClassifySettings, EncodeSettings, SampleSettings, Settings
from ancestral.bulk.table import Columns
from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.engine.comparison import limits

JUDGED = ("log_prob", "log_joint", "elbo", "iwae")
"""Columns in nats that are compared with the parity table."""


@dataclass(slots=True)
class Redrawn:
    """Counts of rows that were computed again.

    Attributes:
        rows: number of rows.
        equal: rows that are equal in bits.
        close: other rows with equal values, and log-probabilities within the parity table.
        near_ties: rows whose first different value, or whose class, is a near tie.
        unjudged: rows that the parity table does not cover: samples of latent variable models
            with another value, and encodings.
        wrong: rows that differ otherwise.
        max_nats: largest difference of a log-probability or bound of rows with equal values.
        limit_nats: its limit: twice that of the table, as both have an error; 0 if rows have to be
            equal in bits.
    """

    rows: int = 0
    equal: int = 0
    close: int = 0
    near_ties: int = 0
    unjudged: int = 0
    wrong: int = 0
    max_nats: float = 0.0
    limit_nats: float = 0.0


def compare(
    engine: Engine,
    settings: Settings,
    prompts: Sequence[Sequence[int]],
    rows: tuple[NDArray[np.int64], Columns, Columns],
    *,
    exact: bool,
    counts: Redrawn,
) -> None:
    """Compare rows, and add to the counts.

    Args:
        engine: the engine that computed the rows again.
        settings: settings of the job.
        prompts: ids of each prompt of the job; empty without prompts.
        rows: index of each row in the job, [n], the columns of the part, and those that were
            computed again.
        exact: whether the part is from a machine like this one, so that bits have to be equal.
        counts: counts of all rows so far.
    """
    index, stored, again = rows
    same, values = _equal(stored, again)
    counts.rows += len(index)
    counts.equal += int(same.sum())
    if exact or same.all():
        counts.wrong += int((~same).sum())
        return
    table, noise = limits(engine, engine.bundle.known_answers())
    nats = table.nats if isinstance(settings, SampleSettings) else max(table.nats, noise.nats)
    limit = 2 * nats * _windows(stored, engine.data.length, len(index))
    counts.limit_nats = max(counts.limit_nats, float(limit.max()))
    apart = np.zeros(len(index))
    for name in JUDGED:
        if name in stored:
            delta = np.abs(np.asarray(stored[name]) - np.asarray(again[name]))
            apart = np.maximum(apart, delta.reshape(len(index), -1).max(axis=1))
    if values.any():
        counts.max_nats = max(counts.max_nats, float(apart[values].max()))
    close = values & ~same
    if any(name in stored for name in JUDGED):
        counts.close += int((close & (apart <= limit)).sum())
        counts.wrong += int((close & ~(apart <= limit)).sum())
    else:
        counts.unjudged += int(close.sum())
    if values.all():
        return
    some = index[~values], _taken(stored, ~values), _taken(again, ~values)
    ties = np.zeros(len(some[0]), bool)
    if isinstance(settings, SampleSettings) and isinstance(engine, AutoregressiveEngine):
        ties = near_ties(engine, settings, prompts, some, table)
    elif isinstance(settings, ClassifySettings):
        # With joint probabilities within the limit, another class can only be a near tie.
        best = np.asarray(some[1]["log_joint"]).argmax(axis=1)
        ties = (apart <= limit)[~values] & (np.asarray(some[1]["label"]) == best)
    elif isinstance(settings, SampleSettings | EncodeSettings):
        counts.unjudged += len(ties)
        return
    counts.near_ties += int(ties.sum())
    counts.wrong += int((~ties).sum())


def _taken(columns: Columns, chosen: NDArray[np.bool_]) -> Columns:
    """Return some rows of columns."""
    found: Columns = {}
    for name, column in columns.items():
        if isinstance(column, np.ndarray):
            found[name] = column[chosen]
        else:
            found[name] = [column[i] for i in np.flatnonzero(chosen).tolist()]  # type: ignore[assignment]
    return found


def _windows(stored: Columns, length: int, n: int) -> NDArray[np.float64]:
    """Return how many times the positions of an event each row has, at least 1, [n].

    The limits are for an event; the log-probability of a text is a sum over more positions.
    """
    tokens = stored.get("tokens")
    if not isinstance(tokens, np.ndarray):
        return np.ones(n)
    return np.maximum(tokens / length, 1.0)


def _equal(stored: Columns, again: Columns) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return for each row whether all columns have equal bits, and whether values are equal.

    Values are integers and texts: what was drawn or chosen.
    """
    n = len(next(iter(stored.values())))
    same, values = np.full(n, set(stored) == set(again)), np.ones(n, bool)
    for name in stored.keys() & again.keys():
        old, new = stored[name], again[name]
        if isinstance(old, np.ndarray) and isinstance(new, np.ndarray):
            pairs = (each.reshape(n, -1) for each in (old, new))
            left, right = (
                np.ascontiguousarray(each).view(np.uint8).reshape(n, -1) for each in pairs
            )
            equal = np.full(n, left.shape == right.shape)
            if left.shape == right.shape:
                equal = (left == right).all(axis=1)
            drawn = old.dtype.kind in "iu"
        else:
            equal = np.array([np.array_equal(a, b) for a, b in zip(old, new, strict=True)])
            drawn = True
        same &= equal
        if drawn:
            values &= equal
    return same, values
