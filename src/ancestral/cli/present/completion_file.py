"""The files that completions are written to: with their weights, or drawn by weight."""

from collections.abc import Sequence

import numpy as np

from ancestral.cli.present.events_file import shown_samples, write_events
from ancestral.cli.present.observed_file import Observed
from ancestral.dataspec import DataSpec
from ancestral.engine import Completion

_OF_PARTICLES = ("x", "log_prob", "log_weight", "chosen")
_OF_EVENT = ("log_prob_observed", "ess", "resampled", "exact")


def write_completions(
    out: str,
    parts: Sequence[Completion],
    observed: Observed,
    noise: tuple[int, int],
    data: DataSpec,
) -> None:
    """Write completions: to an .npz with their weights, elsewhere drawn by weight.

    Particles have x, log_prob, log_weight, chosen and labels: [events, particles, ...]. An event
    has log_prob_observed, ess, resampled, exact and first_index: [events]. Where the file of
    observed values has no axis of events, these have none either. A picture has a row for each
    event where there are several, else it is about square.

    Args:
        out: a file whose suffix says its form, or - for text on standard output.
        parts: of each event, in order, at least one; all have the same number of particles.
        observed: what the events were completed from; there may be more of them.
        noise: the seed, and the sample index of the first particle of the first event.
        data: the space of events.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    events, particles = len(parts), len(parts[0])
    first = noise[1] + particles * np.arange(events)
    names = (*_OF_PARTICLES, *_OF_EVENT)
    arrays = {name: np.stack([getattr(part, name) for part in parts]) for name in names}
    if observed.labels is not None:
        arrays["labels"] = np.repeat(observed.labels[:events, None], particles, axis=1)
    arrays["first_index"] = first
    if not observed.axis:
        arrays = {name: array[0] for name, array in arrays.items()}
    arrays["seed"] = np.asarray(noise[0], np.uint64)
    x = np.concatenate([part.x[part.chosen] for part in parts])
    log_prob = np.concatenate([part.log_prob[part.chosen] for part in parts])
    indices = np.concatenate([i + part.chosen for i, part in zip(first, parts, strict=True)])
    shown = shown_samples(x, log_prob, indices, particles if events > 1 else None)
    write_events(out, arrays, shown, data)
