"""`ancestral sample` without prompts and particles: draw events, write them and describe them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import typer
from numpy.typing import NDArray

from ancestral.cli.events import read_observed
from ancestral.cli.interrupts import finished
from ancestral.cli.output import arrow, place, say
from ancestral.cli.present.events_file import Shown, shown_samples, write_events
from ancestral.cli.speculation import Given, described
from ancestral.dataspec import DataSpec
from ancestral.engine import AutoregressiveEngine, Engine, LatentEngine, Sampling
from ancestral.engine.budget import check_size
from ancestral.engine.sample import join
from ancestral.progress import progress_bar
from ancestral.scalars import whole
from ancestral.units import bits_per_dim, bits_unit, fixed

_MANY = 64
"""Default number of samples."""


@dataclass(frozen=True, slots=True)
class Draw:
    """The options of `ancestral sample` that samples of every kind have.

    Attributes:
        n: number of samples, for each prompt if there are prompts; None if not given.
        label: label of all samples; None cycles through the classes, if there are any.
        seed: seed of the noise.
        first_index: sample index of the first sample.
        sampling: temperature and filters.
        batch: number of samples in a batch; None if not given.
        out: a file, or "-" for standard output.
        proposals: the options of speculation.
    """

    n: int | None
    label: int | None
    seed: int
    first_index: int
    sampling: Sampling
    batch: int | None
    out: str
    proposals: Given = field(default_factory=Given)

    def count(self, data: DataSpec, default: int = _MANY, prompts: int = 1) -> int:
        """Return the total number of samples.

        Args:
            data: the space of events.
            default: number of samples if none was given.
            prompts: number of prompts; each gets the same number of samples.

        Raises:
            InvalidInput: `n` is less than 1, or the samples do not fit in memory.
        """
        n = prompts * (default if self.n is None else whole("-n", self.n, 1))
        check_size("-n", n, 8 * data.length)
        return n

    def labels(self, n: int, data: DataSpec) -> tuple[int | NDArray[Any] | None, str]:
        """Return the labels of n samples for the engine, and their description for a message."""
        if self.label is not None:
            return self.label, f"label {self.label}, "
        if data.num_classes is None:
            return None, ""
        cycle = (self.first_index % data.num_classes + np.arange(n)) % data.num_classes
        return cycle, f"labels 0 .. {data.num_classes - 1} in a cycle, "

    def noise(self, first_index: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of an .npz that identify the noise of its samples."""
        return {"seed": np.asarray(self.seed, np.uint64), "first_index": np.asarray(first_index)}

    def say(
        self, what: str, labels: str, indices: tuple[int, int], engine: Engine, numbers: str
    ) -> None:
        """Report what was drawn, how, where, how probable it is, and which file was written."""
        say(
            f"{what}, {labels}seed {self.seed}, indices {indices[0]} .. {indices[1]}, "
            f"{place(engine)}: {numbers}{arrow(self.out)}"
        )


def sample_events(engine: AutoregressiveEngine, file: Path | None, draw: Draw) -> None:
    """Draw events of an autoregressive model, write and report them; after Ctrl-C those finished.

    Args:
        engine: a bundle on a backend.
        file: a file of observed values, or None.
        draw: the number of samples, the noise and the output.

    Raises:
        InvalidInput: an argument is invalid.
        OSError: the file could not be written.
        typer.Exit: with code 130 after Ctrl-C.
    """
    observed = None if file is None else read_observed(file, draw.label, engine)
    data, n = engine.data, draw.count(engine.data)
    if observed is not None:
        n = observed.samples(draw.n, n)
    labels, description = draw.labels(n, data)
    columns = data.num_classes if draw.label is None else None
    if observed is not None and observed.labels is not None:
        labels, columns = np.broadcast_to(observed.labels, n), None
        description = f"{observed.source}, "
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
            speculate=draw.proposals.speculate(engine),
        )
        parts, interrupted = finished(batches)
    if not parts:
        say(
            "interrupted: no batch was finished and nothing was written; a smaller --batch "
            "finishes sooner"
        )
        raise typer.Exit(130)
    samples = join(parts)
    first, last = samples.first_index, samples.first_index + len(samples) - 1
    shown = shown_samples(samples.x, samples.log_prob, range(first, last + 1), columns)
    arrays = _arrays(samples, "x", "log_prob", "log_q") | draw.noise(first)
    write_events(draw.out, arrays | _arrays(samples, "labels"), shown, data)
    nats = float(samples.log_prob.mean())
    bits = f"{fixed(float(bits_per_dim(nats, data.event_shape)), 3)} {bits_unit(data.tokenizer)}"
    numbers = f"mean log p {fixed(nats, 2)} nats, {bits}{described(samples.speculated)}"
    draw.say(f"{len(samples)} samples", description, (first, last), engine, numbers)
    if interrupted:
        say(f"interrupted: {len(samples)} of {n} samples were finished and written")
        raise typer.Exit(130)


def sample_latent(engine: LatentEngine, draw: Draw, mean: bool) -> None:
    """Draw latents of the prior, and events from them; write and report the events.

    Args:
        engine: a bundle on a backend.
        draw: the number of samples, the noise and the output.
        mean: whether x is E[x | z] instead of a draw.

    Raises:
        InvalidInput: an argument is invalid.
        OSError: the file could not be written.
    """
    n = draw.count(engine.data)
    space = engine.data if engine.prior is None else engine.prior.data
    labels, description = draw.labels(n, space)
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
    draw.say(f"{len(samples)} samples", description, (first, last), engine, numbers)


def _arrays(samples: object, *names: str) -> dict[str, NDArray[Any]]:
    """Return the arrays of samples with these names; those that are None are left out."""
    arrays = {name: getattr(samples, name) for name in names}
    return {name: array for name, array in arrays.items() if array is not None}
