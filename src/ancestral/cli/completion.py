"""`ancestral sample --particles`: completions of events given all that is observed of each."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ancestral.cli.output import say
from ancestral.cli.present.observed_file import Observed, read_observed
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.engine import AutoregressiveEngine, Completion, Sampling
    from ancestral.engine.step_loop import Progress


def check_options(
    observed: Path | None, n: int | None, sampling: "Sampling", batch: int | None
) -> None:
    """Refuse what does not go with particles.

    Raises:
        InvalidInput: nothing is observed, or an option asks for something else.
    """
    if observed is None:
        raise InvalidInput("--particles: expected --observed FILE beside it, got none")
    if n is not None:
        raise InvalidInput(
            f"-n: each event has as many completions as --particles, got -n {n} too: leave it out"
        )
    if not sampling.unfiltered:
        raise InvalidInput(
            f"--particles: weights are those of the model itself, at temperature 1 without "
            f"filters; got {sampling}: leave the temperature and the filters out"
        )
    if batch is not None:
        raise InvalidInput(f"--batch: particles run all together, got --batch {batch}: leave it")


def sample_completions(
    engine: "AutoregressiveEngine",
    file: Path,
    particles: int,
    label: int | None,
    noise: tuple[int, int],
    out: str,
) -> None:
    """Complete each event of a file, one after another; write the completions and say how good.

    Args:
        engine: a bundle on a backend.
        file: with observed values.
        particles: the completions of each event.
        label: the label of all events, instead of those in the file.
        noise: the seed, and the sample index of the first particle of the first event. Event i of
            the file draws with the indices from first_index + i * particles, so that no two events
            share noise.
        out: a file, or - for standard output.

    Raises:
        InvalidInput: an argument is wrong; nothing was drawn.
        OSError: the file could not be written.
        typer.Exit: 130 where Ctrl-C ended it; the events that were finished are written.
    """
    from ancestral.cli.interrupts import finished
    from ancestral.cli.present.completion_file import Completed, write_completions
    from ancestral.cli.present.labels import check_labelled
    from ancestral.engine import arguments, inputs
    from ancestral.progress import progress_bar

    particles = inputs.count("particles", particles, 1)
    observed = read_observed(file, label, engine)
    check_labelled(file, observed.labels, engine)
    total = len(observed.events) * particles
    seed, first_index = arguments.seed(noise[0]), arguments.first_of(noise[1], total)
    arguments.check_size("particles of all events", total, 8 * engine.data.length)
    with progress_bar("completing") as progress:
        drawn = _each(engine, observed, particles, (seed, first_index), progress)
        parts, interrupted = finished(drawn)
    if parts:
        labels = None if observed.labels is None else observed.labels[: len(parts)]
        done = Completed(parts, labels, observed.axis, seed, first_index)
        write_completions(out, done, engine.data)
        how = f"{observed.source}, seed {seed}" if observed.source else f"seed {seed}"
        _say(parts, engine, how, out)
    if interrupted:
        say(
            f"interrupted: {len(parts)} of {len(observed.events)} events were finished"
            f"{' and written' if parts else ', nothing is written'}"
        )
        raise typer.Exit(130)


def _each(
    engine: "AutoregressiveEngine",
    observed: Observed,
    particles: int,
    noise: tuple[int, int],
    progress: "Progress | None",
) -> "Iterator[Completion]":
    """Complete the events in order."""
    seed, first_index = noise
    events = len(observed.events)

    for i, event in enumerate(observed.events):

        def report(done: int, total: int, before: int = i) -> None:
            if progress is not None:
                progress(before * total + done, events * total)

        label = None if observed.labels is None else int(observed.labels[i])
        yield engine.complete(event, particles, label, seed, first_index + i * particles, report)


def _say(parts: "Sequence[Completion]", engine: "AutoregressiveEngine", how: str, out: str) -> None:
    """Say the estimate of each event, how good it is, and what was written."""
    where = f"{engine.backend.name} on {engine.backend.device}"
    weighted = Path(out).suffix.lower() == ".npz"
    tail = f"{'' if weighted else '; drawn by weight'}{'' if out == '-' else f' -> {out}'}"
    n = len(parts[0])
    if len(parts) == 1:
        say(f"{_estimate(parts[0])} ({_kind(parts[0])})")
        say(f"{n} completions, {how}, {where}: {_quality(parts[0])}{tail}")
        return
    for i, part in enumerate(parts):
        say(f"event {i}: {_estimate(part)}, {_quality(part)}{', exact' if part.exact else ''}")
    kinds = "; ".join(dict.fromkeys(_kind(part) for part in parts))
    say(f"{len(parts)} events, {n} completions each, {how}, {where} ({kinds}){tail}")


def _estimate(completion: "Completion") -> str:
    return f"log p(observed) = {completion.log_prob_observed:.4f} nats"


def _quality(completion: "Completion") -> str:
    return (
        f"effective sample size {completion.ess:.1f} of {len(completion)}, resampled "
        f"{completion.resampled} times"
    )


def _kind(completion: "Completion") -> str:
    if completion.exact:
        return "exact: what is observed comes first in the ordering"
    return "an estimate by particles, exact only as they become many"
