"""`ancestral reconstruct`: events beside what is left of them behind the latents."""

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


def reconstruct(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    file: EventsFile,
    out: MeansFile,
    n: Annotated[
        int, typer.Option("-n", help="Events of a picture at most; an .npz holds all.")
    ] = 16,
    binarise: Binarise = False,
    levels: Levels = None,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Write E[x | z] at the mean of q(z | x), or at the codes, of each event.

    A picture shows the events in its upper row, below each its reconstruction.
    """
    from ancestral.cli.arrays import pick, read_arrays
    from ancestral.cli.events import Binarising, model_events
    from ancestral.cli.present.means_file import check_means_target, is_picture, of_all, write_means
    from ancestral.engine import LatentEngine

    if n < 1:
        raise InvalidInput(f"-n: expected an integer >= 1, got {n}")
    check_means_target(out, keep=(bundle, file))
    binarising = Binarising(binarise, levels)
    x = pick(file, read_arrays(file), ("x",))
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    check_means_target(out, engine)
    asked = model_events(file, x, engine.data, binarising, n if is_picture(out) else None)
    mean = engine.reconstruct(asked)
    events = asked.reshape(mean.shape)
    write_means(out, {"x": events, "x_mean": mean}, mean, len(mean), engine, events)
    drawn = of_all(len(mean), len(x), "events")
    say(f"{drawn}, {engine.backend.name} on {engine.backend.device} -> {out}")
