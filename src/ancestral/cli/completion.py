"""`ancestral sample --particles`: complete partly observed events by sequential Monte Carlo."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import typer

from ancestral.cli.events import Observed, check_labelled, read_observed
from ancestral.cli.interrupts import finished
from ancestral.cli.output import arrow, place, say
from ancestral.cli.present.events_file import shown_samples, write_events
from ancestral.cli.samples import Draw
from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine, Completion, arguments, budget
from ancestral.engine.arguments import Progress
from ancestral.engine.noise import Noise
from ancestral.errors import InvalidInput
from ancestral.progress import progress_bar
from ancestral.scalars import whole

_OF_PARTICLES = ("x", "log_prob", "log_weight", "chosen")
_OF_EVENT = ("log_prob_observed", "ess", "resampled", "exact")


def sample_completions(
    engine: AutoregressiveEngine, file: Path | None, particles: int, draw: Draw
) -> None:
    """Complete each event of a file in order; write the completions and report their quality.

    Args:
        engine: a bundle on a backend.
        file: a file of observed values.
        particles: number of completions of each event.
        draw: the noise and the output. Event i of the file has the noise of the indices from
            first_index + i * particles, so no two events share noise.

    Raises:
        InvalidInput: an argument is invalid; nothing was drawn.
        OSError: the file could not be written.
        typer.Exit: with code 130 after Ctrl-C; finished events are written.
    """
    file = _checked(file, draw)
    particles = whole("--particles", particles, 1)
    observed = read_observed(file, draw.label, engine)
    check_labelled(file, observed.labels, engine)
    events = len(observed.events)
    noise = arguments.noise(draw.seed, draw.first_index, events * particles)
    budget.check_size("particles of all events", events * particles, 8 * engine.data.length)
    with progress_bar("completing") as progress:
        drawn = _each(engine, observed, particles, noise, progress)
        parts, interrupted = finished(drawn)
    if parts:
        write_completions(draw.out, parts, observed, noise, engine.data)
        source = f"{observed.source}, " if observed.source else ""
        _say(parts, engine, f"{source}seed {noise.seed}", draw.out)
    if interrupted:
        written = " and written" if parts else ", nothing was written"
        say(f"interrupted: {len(parts)} of {events} events were finished{written}")
        raise typer.Exit(130)


def _checked(file: Path | None, draw: Draw) -> Path:
    """Return the file of observed values, after checking the options.

    Raises:
        InvalidInput: there is no file, or an option cannot be combined with --particles.
    """
    if file is None:
        raise InvalidInput("`--observed` is required with --particles; add --observed FILE")
    if draw.n is not None:
        raise InvalidInput(
            f"-n: not used with --particles, which sets the number of completions of each event, "
            f"got {draw.n}; leave it out"
        )
    if not draw.sampling.unfiltered:
        raise InvalidInput(
            f"--particles: expected temperature 1 and no filters, because the weights are those of "
            f"the model itself, got {draw.sampling}; leave out temperature, filters, "
            f"bias and penalties"
        )
    if draw.batch is not None:
        raise InvalidInput(
            f"--batch: not used with --particles, which run in one batch, got {draw.batch}; leave "
            f"it out"
        )
    return file


def _each(
    engine: AutoregressiveEngine,
    observed: Observed,
    particles: int,
    noise: Noise,
    progress: Progress,
) -> Iterator[Completion]:
    """Complete the events in order."""
    for i, event in enumerate(observed.events):

        def report(done: int, total: int, before: int = i) -> None:
            progress(before * total + done, len(observed.events) * total)

        label = None if observed.labels is None else int(observed.labels[i])
        first = noise.first_index + i * particles
        yield engine.complete(event, particles, label, noise.seed, first, report)


def write_completions(
    out: str,
    parts: Sequence[Completion],
    observed: Observed,
    noise: Noise,
    data: DataSpec,
) -> None:
    """Write completions: all of them with weights to an .npz, draws by weight to other files.

    The arrays x, log_prob, log_weight, chosen and labels are [events, particles, ...];
    log_prob_observed, ess, resampled, exact and first_index are [events]. If the file of observed
    values has no axis of events, these arrays have none either. A picture has one row per event if
    there are several events, else it is about square.

    Args:
        out: a file, whose suffix gives its format, or "-" for text on standard output.
        parts: the completions of each event, in order; at least one, all with the same number of
            particles.
        observed: the observed values; it may have more events than `parts`.
        noise: the seed, and the sample index of the first particle of the first event.
        data: the space of events.

    Raises:
        OSError: the file could not be written; an old file of that name is intact.
    """
    events, particles = len(parts), len(parts[0])
    first = noise.first_index + particles * np.arange(events)
    names = (*_OF_PARTICLES, *_OF_EVENT)
    arrays = {name: np.stack([getattr(part, name) for part in parts]) for name in names}
    if observed.labels is not None:
        arrays["labels"] = np.repeat(observed.labels[:events, None], particles, axis=1)
    arrays["first_index"] = first
    if not observed.axis:
        arrays = {name: array[0] for name, array in arrays.items()}
    arrays["seed"] = np.asarray(noise.seed, np.uint64)
    x = np.concatenate([part.x[part.chosen] for part in parts])
    log_prob = np.concatenate([part.log_prob[part.chosen] for part in parts])
    indices = np.concatenate([i + part.chosen for i, part in zip(first, parts, strict=True)])
    shown = shown_samples(x, log_prob, indices.tolist(), particles if events > 1 else None)
    write_events(out, arrays, shown, data)


def _say(parts: Sequence[Completion], engine: AutoregressiveEngine, how: str, out: str) -> None:
    """Report the estimate of each event, its quality, and what was written."""
    weighted = Path(out).suffix.lower() == ".npz"
    tail = f"{'' if weighted else '; drawn by weight'}{arrow(out)}"
    one, n = parts[0], len(parts[0])
    if len(parts) == 1:
        say(f"{_estimate(one)} ({_kind(one)})")
        say(f"{n} completions, {how}, {place(engine)}: {_quality(one)}{tail}")
        return
    for i, part in enumerate(parts):
        say(f"event {i}: {_estimate(part)}, {_quality(part)}{', exact' if part.exact else ''}")
    kinds = "; ".join(dict.fromkeys(_kind(part) for part in parts))
    say(f"{len(parts)} events, {n} completions each, {how}, {place(engine)} ({kinds}){tail}")


def _estimate(completion: Completion) -> str:
    return f"log p(observed) = {completion.log_prob_observed:.4f} nats"


def _quality(completion: Completion) -> str:
    return (
        f"effective sample size {completion.ess:.1f} of {len(completion)}, resampled "
        f"{completion.resampled} times"
    )


def _kind(completion: Completion) -> str:
    exact = "exact: the observed values come first in the ordering"
    return exact if completion.exact else "an estimate, exact in the limit of many particles"
