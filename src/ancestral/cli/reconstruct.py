"""`ancestral reconstruct`: events beside what is left of them behind the latents."""

from typing import Annotated

import typer

from ancestral.cli import options
from ancestral.cli.output import arrow, place, say


def reconstruct(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: options.EventsFile,
    out: options.MeansFile,
    n: Annotated[
        int, typer.Option("-n", help="Events of a picture at most; an .npz holds all.")
    ] = 16,
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Write E[x | z] at the mean of q(z | x), or at the codes, of each event.

    A picture shows the events in its upper row, below each its reconstruction.
    """
    from ancestral.cli.events import Events
    from ancestral.cli.present import events_file

    most = events_file.check_means_file(out, bundle, file, n=n)
    events = Events.read(file, binarise, levels)
    engine = events_file.load_for_means(bundle, out, backend, device, threads)
    x = events.of_model(engine.data, most)
    mean = engine.reconstruct(x)
    arrays = {"x": x.reshape(mean.shape), "x_mean": mean}
    events_file.write_means(out, arrays, len(mean), engine, arrays["x"])
    drawn = events_file.of_all(len(mean), len(events.x), "events")
    say(f"{drawn}, {place(engine)}{arrow(out)}")
