"""`ancestral sample` of an autoregressive model without prompts: events, some values forced."""

from typing import TYPE_CHECKING

import typer

from ancestral.cli.generation import Draw
from ancestral.cli.interrupts import finished
from ancestral.cli.output import say
from ancestral.cli.present.labels import in_turn
from ancestral.cli.present.observed_file import Observed
from ancestral.cli.present.samples_file import write_samples
from ancestral.progress import progress_bar

if TYPE_CHECKING:
    from ancestral.engine import AutoregressiveEngine, Samples


def sample_events(engine: "AutoregressiveEngine", observed: Observed | None, draw: Draw) -> None:
    """Draw, write and say; after Ctrl-C the batches that were finished.

    Raises:
        InvalidInput: an argument is wrong.
        OSError: the file could not be written.
        typer.Exit: 130 after Ctrl-C.
    """
    from ancestral.engine.arguments import check_size
    from ancestral.engine.autoregressive import join

    check_size("n", draw.n, 8 * engine.data.length)
    labels, said = in_turn(draw.label, draw.n, draw.first_index, engine.data)
    columns = engine.data.num_classes if draw.label is None else None
    if observed is not None and observed.labels is not None:
        labels, said, columns = observed.labels_of(draw.n), f"{observed.source}, ", None
    with progress_bar("sampling") as progress:
        parts, interrupted = finished(
            engine.sample_batches(
                draw.n,
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
    say(_summary(samples, engine, f"{said}seed {draw.seed}", draw.out))
    if interrupted:
        say(f"interrupted: {len(samples)} of {draw.n} samples were finished and written")
        raise typer.Exit(130)


def _summary(samples: "Samples", engine: "AutoregressiveEngine", how: str, out: str) -> str:
    from ancestral.units import bits_per_dim, bits_unit, fixed

    last = samples.first_index + len(samples) - 1
    nats = float(samples.log_prob.mean())
    bits = float(bits_per_dim(nats, engine.data.event_shape))
    unit = bits_unit(engine.data.tokenizer)
    tail = "" if out == "-" else f" -> {out}"
    return (
        f"{len(samples)} samples, {how}, indices {samples.first_index} .. {last}, "
        f"{engine.backend.name} on {engine.backend.device}: "
        f"mean log p {fixed(nats, 2)} nats, {fixed(bits, 3)} {unit}{tail}"
    )
