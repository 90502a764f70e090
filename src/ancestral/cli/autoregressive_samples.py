"""`ancestral sample` of an autoregressive model without prompts: events, some values forced."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ancestral.cli.draw import Draw
from ancestral.cli.interrupts import finished
from ancestral.cli.output import say
from ancestral.cli.present.events_file import write_samples
from ancestral.cli.present.observed_file import read_observed
from ancestral.cli.progress import progress_bar

if TYPE_CHECKING:
    from ancestral.engine import AutoregressiveEngine, Samples

MANY = 64
"""Samples where no number is given."""


def sample_events(engine: "AutoregressiveEngine", file: Path | None, draw: Draw) -> None:
    """Draw, write and say; after Ctrl-C the batches that were finished.

    Args:
        engine: a bundle on a backend.
        file: with observed values, or None.
        draw: how many, how and where to.

    Raises:
        InvalidInput: an argument is wrong.
        OSError: the file could not be written.
        typer.Exit: 130 after Ctrl-C.
    """
    from ancestral.engine.autoregressive import join

    observed = None if file is None else read_observed(file, draw.label, engine)
    n = draw.count(MANY, engine.data)
    if observed is not None:
        n = observed.samples(draw.n, n)
    labels, said = draw.labels(n, engine.data)
    columns = engine.data.num_classes if draw.label is None else None
    if observed is not None and observed.labels is not None:
        labels, said, columns = observed.labels_of(n), f"{observed.source}, ", None
    with progress_bar("sampling") as progress:
        parts, interrupted = finished(
            engine.sample_batches(
                n,
                labels,
                draw.seed,
                draw.first_index,
                draw.sampling,
                None if observed is None else observed.events,
                progress=progress,
                batch=draw.batch,
            )
        )
    if not parts:
        say("interrupted: no batch was finished, nothing is written; a smaller --batch ends sooner")
        raise typer.Exit(130)
    samples = join(parts)
    write_samples(draw.out, samples, draw.seed, engine.data, columns)
    indices = (samples.first_index, samples.first_index + len(samples) - 1)
    draw.say(f"{len(samples)} samples", said, indices, engine, _mean(samples, engine))
    if interrupted:
        say(f"interrupted: {len(samples)} of {n} samples were finished and written")
        raise typer.Exit(130)


def _mean(samples: "Samples", engine: "AutoregressiveEngine") -> str:
    from ancestral.units import bits_per_dim, bits_unit, fixed

    nats = float(samples.log_prob.mean())
    bits = float(bits_per_dim(nats, engine.data.event_shape))
    return f"mean log p {fixed(nats, 2)} nats, {fixed(bits, 3)} {bits_unit(engine.data.tokenizer)}"
