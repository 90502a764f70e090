"""`ancestral sample` without prompts and particles: events, and the line that says of what."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from ancestral.cli.events import read_observed
from ancestral.cli.interrupts import finished
from ancestral.cli.output import arrow, place, say
from ancestral.cli.present.events_file import Shown, shown_samples, write_events
from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine, Sampling
from ancestral.engine.budget import check_size
from ancestral.engine.sample import join
from ancestral.progress import progress_bar
from ancestral.scalars import whole
from ancestral.units import bits_per_dim, bits_unit, fixed

_MANY = 64
"""Samples where no number is given."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The options of `ancestral sample` that samples of every kind have.

    Attributes:
        n: number of samples, of each prompt where there are prompts; None where it was not given.
        label: of all samples; None takes the classes in turn, if there are any.
        seed: of the noise.
        first_index: sample index of the first sample.
        sampling: temperature and filters.
        batch: samples at a time; None where it was not given.
        out: a file, or - for standard output.
    """

    n: int | None
    label: int | None
    seed: int
    first_index: int
    sampling: Sampling
    batch: int | None
    out: str

    def count(self, data: DataSpec, default: int = _MANY, prompts: int = 1) -> int:
        """Number of samples in all.

        Args:
            data: the space of events.
            default: used where no number was given.
            prompts: number of prompts, each of which has as many samples.

        Raises:
            InvalidInput: the number is below 1, or its samples do not fit in memory.
        """
        n = prompts * (default if self.n is None else whole("n", self.n, 1))
        check_size("n", n, 8 * data.length)
        return n

    def labels(self, n: int, data: DataSpec) -> tuple[int | NDArray[Any] | None, str]:
        """The labels of n samples for the engine, and how a message names them."""
        if self.label is not None:
            return self.label, f"label {self.label}, "
        if data.num_classes is None:
            return None, ""
        cycle = (self.first_index % data.num_classes + np.arange(n)) % data.num_classes
        return cycle, f"labels 0 .. {data.num_classes - 1} in turn, "

    def noise(self, first_index: int) -> dict[str, NDArray[Any]]:
        """The arrays of an .npz that say with which noise its samples were drawn."""
        return {"seed": np.asarray(self.seed, np.uint64), "first_index": np.asarray(first_index)}

    def say(
        self, what: str, labels: str, indices: tuple[int, int], engine: Engine, numbers: str
    ) -> None:
        """Say what was drawn, how, where, how probable it is, and which file was written."""
        say(
            f"{what}, {labels}seed {self.seed}, indices {indices[0]} .. {indices[1]}, "
            f"{place(engine)}: {numbers}{arrow(self.out)}"
        )


def sample_events(engine: AutoregressiveEngine, file: Path | None, draw: Draw) -> None:
    """Draw events of an autoregressive model, write and say; after Ctrl-C the finished batches.

    Args:
        engine: a bundle on a backend.
        file: with observed values, or None.
        draw: how many, how and where to.

    Raises:
        InvalidInput: an argument is wrong.
        OSError: the file could not be written.
        typer.Exit: 130 after Ctrl-C.
    """
    observed = None if file is None else read_observed(file, draw.label, engine)
    data, n = engine.data, draw.count(engine.data)
    if observed is not None:
        n = observed.samples(draw.n, n)
    labels, said = draw.labels(n, data)
    columns = data.num_classes if draw.label is None else None
    if observed is not None and observed.labels is not None:
        labels, said, columns = np.broadcast_to(observed.labels, n), f"{observed.source}, ", None
    with progress_bar("sampling") as progress:
        batches = engine.sample_batches(
            n,
            labels,
            draw.seed,
            draw.first_index,
            draw.sampling,
            None if observed is None else observed.events,
            progress=progress,
            batch=draw.batch,
        )
        parts, interrupted = finished(batches)
    if not parts:
        say("interrupted: no batch was finished, nothing is written; a smaller --batch ends sooner")
        raise typer.Exit(130)
    samples = join(parts)
    first, last = samples.first_index, samples.first_index + len(samples) - 1
    shown = shown_samples(samples.x, samples.log_prob, range(first, last + 1), columns)
    arrays = _arrays(samples, "x", "log_prob", "log_q") | draw.noise(first)
    write_events(draw.out, arrays | _arrays(samples, "labels"), shown, data)
    nats = float(samples.log_prob.mean())
    bits = f"{fixed(float(bits_per_dim(nats, data.event_shape)), 3)} {bits_unit(data.tokenizer)}"
    numbers = f"mean log p {fixed(nats, 2)} nats, {bits}"
    draw.say(f"{len(samples)} samples", said, (first, last), engine, numbers)
    if interrupted:
        say(f"interrupted: {len(samples)} of {n} samples were finished and written")
        raise typer.Exit(130)


def sample_latent(engine: LatentEngine, draw: Draw, mean: bool) -> None:
    """Draw latents of the prior, and events from them; write and say.

    Args:
        engine: a bundle on a backend.
        draw: how many, how and where to.
        mean: whether x is E[x | z], not a draw.

    Raises:
        InvalidInput: an argument is wrong.
        OSError: the file could not be written.
    """
    n = draw.count(engine.data)
    space = engine.data if engine.prior is None else engine.prior.data
    labels, said = draw.labels(n, space)
    samples = engine.sample(n, labels, draw.seed, draw.first_index, draw.sampling, mean)
    first, last = samples.first_index, samples.first_index + len(samples) - 1
    shown = Shown(
        samples.x,
        [f"sample {i}" for i in range(first, last + 1)],
        intervals=engine.latent.continuous,
        means=mean,
        columns=space.num_classes if draw.label is None else None,
    )
    arrays = _arrays(samples, "x", "z", "log_prior", "log_likelihood", "labels")
    write_events(draw.out, arrays | draw.noise(first), shown, engine.data)
    likelihood = samples.log_likelihood
    of_x = "means E[x | z]" if likelihood is None else f"log p(x | z) {likelihood.mean():.2f} nats"
    numbers = f"mean log p(z) {samples.log_prior.mean():.2f} nats, {of_x}"
    draw.say(f"{len(samples)} samples", said, (first, last), engine, numbers)


def _arrays(samples: object, *names: str) -> dict[str, NDArray[Any]]:
    """The arrays of samples by these names; those that are None are left out."""
    arrays = {name: getattr(samples, name) for name in names}
    return {name: array for name, array in arrays.items() if array is not None}
