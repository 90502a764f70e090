"""Samples of two machines that differ: whether the first difference of a row is a near tie.

A value is drawn by inverse CDF: the uniform u lies between two edges of the cumulative
distribution. Machines round the edges differently, so that they may draw different values where u
is close to an edge. After the first difference, two rows have different pasts.
"""

import numpy as np
from jaxtyping import Bool, Int64
from numpy.typing import NDArray

from ancestral.bulk.draws import spans
from ancestral.bulk.settings import SampleSettings
from ancestral.engine import AutoregressiveEngine
from ancestral.philox import uniforms
from ancestral.step_tensors import LOGITS


def near_ties(
    engine: AutoregressiveEngine,
    settings: SampleSettings,
    rows: Int64[np.ndarray, " n"],
    stored: NDArray[np.int64],
    drawn: NDArray[np.int64],
    limit: float,
) -> Bool[np.ndarray, " n"]:
    """Return for each row whether its first difference is a near tie.

    Args:
        engine: the engine that drew the rows again.
        settings: settings of the draws, with nothing but a temperature above 0.
        rows: index of each row in the job.
        stored: events of the part, [n, *event_shape]; each differs from the drawn one.
        drawn: events that were drawn again, [n, *event_shape].
        limit: largest distance of u from the edges, for the two machines together.
    """
    data, temperature = engine.data, settings.filters.temperature
    old, new = data.in_order(stored), data.in_order(drawn)
    label = None
    if settings.labels is not None:
        every = np.array(settings.labels, np.int64)
        label = every[rows % len(every)]
    # The pasts are equal up to the first difference, so either event gives the distribution.
    logits = engine.parallel(LOGITS, engine.labels(label, len(rows)), x=new)[LOGITS]
    found = np.zeros(len(rows), bool)
    for i, row in enumerate(rows.tolist()):
        at = int(np.argmax(old[i] != new[i]))
        (span,) = spans(settings.seed, row, 1)
        index, position = np.array([span.first_index]), np.array([at])
        u = float(uniforms(span.seed, index, position)[0, 0])
        scaled = logits[i, at].astype(np.float64) / temperature
        p = np.exp(scaled - scaled.max())
        edges = np.cumsum(p / p.sum())
        low, high = sorted((int(old[i, at]), int(new[i, at])))
        found[i] = bool((np.abs(edges[low:high] - u) <= limit).all())
    return found
