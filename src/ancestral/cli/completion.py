"""`ancestral sample --particles`: completions of events given all that is observed of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import typer

from ancestral.cli.events import check_labelled
from ancestral.cli.interrupts import finished
from ancestral.cli.output import arrow, place, say
from ancestral.cli.present.completion_file import write_completions
from ancestral.cli.present.observed_file import Observed, read_observed
from ancestral.cli.samples import Draw
from ancestral.engine import AutoregressiveEngine, Completion, arguments, budget
from ancestral.engine.arguments import Progress
from ancestral.errors import InvalidInput
from ancestral.progress import progress_bar
from ancestral.scalars import whole


def sample_completions(
    engine: AutoregressiveEngine, file: Path | None, particles: int, draw: Draw
) -> None:
    """Complete each event of a file, one after another; write the completions and say how good.

    Args:
        engine: a bundle on a backend.
        file: with observed values.
        particles: the completions of each event.
        draw: how and where to. Event i of the file draws with the indices from
            first_index + i * particles, so that no two events share noise.

    Raises:
        InvalidInput: an argument is wrong; nothing was drawn.
        OSError: the file could not be written.
        typer.Exit: 130 where Ctrl-C ended it; the events that were finished are written.
    """
    file = _checked(file, draw)
    particles = whole("particles", particles, 1)
    observed = read_observed(file, draw.label, engine)
    check_labelled(file, observed.labels, engine)
    events = len(observed.events)
    noise = arguments.noise(draw.seed, draw.first_index, events * particles)
    seed, first_index = noise.seed, noise.first_index
    budget.check_size("particles of all events", events * particles, 8 * engine.data.length)
    with progress_bar("completing") as progress:
        drawn = _each(engine, observed, particles, (seed, first_index), progress)
        parts, interrupted = finished(drawn)
    if parts:
        write_completions(draw.out, parts, observed, (seed, first_index), engine.data)
        source = f"{observed.source}, " if observed.source else ""
        _say(parts, engine, f"{source}seed {seed}", draw.out)
    if interrupted:
        written = " and written" if parts else ", nothing is written"
        say(f"interrupted: {len(parts)} of {events} events were finished{written}")
        raise typer.Exit(130)


def _checked(file: Path | None, draw: Draw) -> Path:
    """The file of observed values; options that do not go with particles are refused.

    Raises:
        InvalidInput: nothing is observed, or an option asks for something else.
    """
    if file is None:
        raise InvalidInput("--particles: expected --observed FILE beside it, got none")
    if draw.n is not None:
        raise InvalidInput(
            f"-n: each event has as many completions as --particles, got -n {draw.n} too: leave it "
            f"out"
        )
    if not draw.sampling.unfiltered:
        raise InvalidInput(
            f"--particles: weights are those of the model itself, at temperature 1 without "
            f"filters; got {draw.sampling}: leave the temperature and the filters out"
        )
    if draw.batch is not None:
        raise InvalidInput(
            f"--batch: particles run all together, got --batch {draw.batch}: leave it"
        )
    return file


def _each(
    engine: AutoregressiveEngine,
    observed: Observed,
    particles: int,
    noise: tuple[int, int],
    progress: Progress,
) -> Iterator[Completion]:
    """Complete the events in order."""
    seed, first_index = noise
    for i, event in enumerate(observed.events):

        def report(done: int, total: int, before: int = i) -> None:
            progress(before * total + done, len(observed.events) * total)

        label = None if observed.labels is None else int(observed.labels[i])
        yield engine.complete(event, particles, label, seed, first_index + i * particles, report)


def _say(parts: Sequence[Completion], engine: AutoregressiveEngine, how: str, out: str) -> None:
    """Say the estimate of each event, how good it is, and what was written."""
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
    exact = "exact: what is observed comes first in the ordering"
    return exact if completion.exact else "an estimate by particles, exact only as they become many"
