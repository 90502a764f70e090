"""The most probable values at each position, as lines or arrays."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.output import put
from ancestral.engine import Top

Array = NDArray[Any]


def top_arrays(top: Top | None) -> dict[str, Array]:
    """Return the arrays of an .npz; an empty dict without the most probable values."""
    if top is None:
        return {}
    names = {"top_ids": top.ids, "top_log_prob": top.log_prob, "most_likely": top.most_likely}
    return {name: np.asarray(array) for name, array in names.items()}


def put_events(x: Array, log_prob: Array, top: Top) -> None:
    """Print the positions of events, each event under a line with its number and log p.

    Args:
        x: values by positions, [n, t].
        log_prob: their log-probabilities, in nats, [n, t].
        top: the most probable values, [n, t, k].
    """
    for i, event in enumerate(x):
        put(f"event {i}: log p {log_prob[i].sum(dtype=np.float64):z.6f} nats")
        put_positions(event, log_prob[i], Top(top.ids[i], top.log_prob[i], top.most_likely[i]))


def put_positions(x: Array, log_prob: Array, top: Top) -> None:
    """Print a line for each position: position, value, its log p, the most probable values.

    A value that is the most probable one is marked with an asterisk.

    Args:
        x: values, [t].
        log_prob: their log-probabilities, in nats, [t].
        top: the most probable values, [t, k].
    """
    for line in position_lines(x, log_prob, top):
        put(line)


def position_lines(x: Array, log_prob: Array, top: Top, first: int = 0) -> Iterator[str]:
    """Yield the lines of `put_positions`; `first` is the number of the first position."""
    for t, value in enumerate(x):
        each = zip(top.ids[t], top.log_prob[t], strict=True)
        # A position that has no probability has no most probable values either.
        best = "  ".join(f"{i} {nats:z.4f}" for i, nats in each if i >= 0)
        mark = "*" if top.most_likely[t] else " "
        yield f"{first + t:>6} {value:>6}{mark} {log_prob[t]:z11.4f}  {best}"
