"""`ancestral interpolate`: what lies between events, along a path of latents."""

from enum import StrEnum
from typing import Annotated

import typer

from ancestral.cli.options import (
    Backend,
    Binarise,
    BundlePath,
    Device,
    EventsFile,
    Levels,
    MeansFile,
    Threads,
)
from ancestral.cli.output import say
from ancestral.errors import InvalidInput


class Course(StrEnum):
    """The paths that there are."""

    LINEAR = "linear"
    SPHERICAL = "spherical"


def interpolate(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    file: EventsFile,
    out: MeansFile,
    steps: Annotated[int, typer.Option(help="Points of a path, both ends among them.")] = 8,
    path: Annotated[
        Course,
        typer.Option(
            help="spherical: along the great circle, at the lengths of latents of a standard "
            "normal prior."
        ),
    ] = Course.LINEAR,
    n: Annotated[
        int, typer.Option("-n", help="Pairs of a picture at most; an .npz holds all.")
    ] = 16,
    binarise: Binarise = False,
    levels: Levels = None,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Write E[x | z] along a path between events: 0 and 1, 2 and 3, and so on.

    A picture has a row for each pair. The latents of the ends are the means of q(z | x).
    """
    from ancestral.cli.arrays import pick, read_arrays
    from ancestral.cli.events import Binarising, model_events
    from ancestral.cli.present.means_file import check_means_target, is_picture, of_all, write_means
    from ancestral.engine import LatentEngine, inputs

    if n < 1:
        raise InvalidInput(f"-n: expected an integer >= 1, got {n}")
    check_means_target(out, keep=(bundle, file))
    binarising = Binarising(binarise, levels)
    x = pick(file, read_arrays(file), ("x",))
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    check_means_target(out, engine)
    check = inputs.real_events if engine.latent.continuous else inputs.events
    x = check(model_events(file, x, engine.data, binarising), engine.data)
    count = len(x)
    if count < 2:
        raise InvalidInput(f"{file}: expected at least 2 events, a pair, got {count}")
    pairs = min(count // 2, n) if is_picture(out) else count // 2
    start, end = x[0 : 2 * pairs : 2], x[1 : 2 * pairs : 2]
    mean = engine.interpolate(start, end, steps, path.value)
    write_means(out, {"x_mean": mean}, mean.reshape(-1, *engine.data.event_shape), steps, engine)
    alone = f"; event {count - 1} has no partner" if count % 2 else ""
    where = f"{engine.backend.name} on {engine.backend.device}"
    drawn = of_all(pairs, count // 2, "pairs")
    say(f"{drawn}, {steps} points each, {path}{alone}, {where} -> {out}")
