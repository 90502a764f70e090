"""The files that completions are written to: with their weights, or drawn by weight."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.present.events_file import shown_samples, write_events

if TYPE_CHECKING:
    from ancestral.dataspec import DataSpec
    from ancestral.engine import Completion

_OF_PARTICLES = ("x", "log_prob", "log_weight", "chosen")
_OF_EVENT = ("log_prob_observed", "ess", "resampled", "exact")


@dataclass(frozen=True, slots=True)
class Completed:
    """The completions of the events of a file.

    Attributes:
        parts: of each event, in order, at least one; all have the same number of particles.
        labels: [events], or None without.
        axis: whether arrays have an axis of events; without, there is one event.
        seed: that they were drawn with.
        first_index: sample index of the first particle of the first event.
    """

    parts: "Sequence[Completion]"
    labels: NDArray[np.int64] | None
    axis: bool
    seed: int
    first_index: int


def write_completions(out: str, done: Completed, data: "DataSpec") -> None:
    """Write completions: to an .npz with their weights, elsewhere drawn by weight.

    A picture has a row for each event where there are several, else it is about square.

    Args:
        out: a file whose suffix says its form, or - for text on standard output.
        done: the completions.
        data: their space.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    particles = len(done.parts[0])
    first = done.first_index + particles * np.arange(len(done.parts))
    x = np.concatenate([part.x[part.chosen] for part in done.parts])
    log_prob = np.concatenate([part.log_prob[part.chosen] for part in done.parts])
    indices = np.concatenate(
        [start + part.chosen for start, part in zip(first, done.parts, strict=True)]
    )
    columns = particles if len(done.parts) > 1 else None
    write_events(out, _arrays(done, first), shown_samples(x, log_prob, indices, columns), data)


def _arrays(done: Completed, first: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The arrays of the .npz, with the axis of events in front or without it.

    Particles have x, log_prob, log_weight, chosen and labels: [events, particles, ...]. An event
    has log_prob_observed, ess, resampled, exact and first_index: [events].
    """
    names = (*_OF_PARTICLES, *_OF_EVENT)
    arrays = {name: np.stack([getattr(part, name) for part in done.parts]) for name in names}
    if done.labels is not None:
        arrays["labels"] = np.repeat(done.labels[:, None], len(done.parts[0]), axis=1)
    arrays["first_index"] = first
    if not done.axis:
        arrays = {name: array[0] for name, array in arrays.items()}
    return arrays | {"seed": np.asarray(done.seed, np.uint64)}
