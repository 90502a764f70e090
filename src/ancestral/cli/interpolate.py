"""`ancestral interpolate`: what lies between events, along a path of latents."""

from typing import Annotated, Literal

import typer

from ancestral.cli import options
from ancestral.cli.output import arrow, place, say
from ancestral.errors import InvalidInput


def interpolate(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: options.EventsFile,
    out: options.MeansFile,
    steps: Annotated[int, typer.Option(help="Points of a path, both ends among them.")] = 8,
    path: Annotated[
        Literal["linear", "spherical"],
        typer.Option(
            help="spherical: along the great circle, at the lengths of latents of a standard "
            "normal prior."
        ),
    ] = "linear",
    n: Annotated[
        int, typer.Option("-n", help="Pairs of a picture at most; an .npz holds all.")
    ] = 16,
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Write E[x | z] along a path between events: 0 and 1, 2 and 3, and so on.

    A picture has a row for each pair. The latents of the ends are the means of q(z | x).
    """
    from ancestral.cli.events import Events
    from ancestral.cli.present import events_file
    from ancestral.engine import inputs

    most = events_file.check_means_file(out, bundle, file, n=n)
    events = Events.read(file, binarise, levels)
    engine = events_file.load_for_means(bundle, out, backend, device, threads)
    check = inputs.real_events if engine.latent.continuous else inputs.events
    x = check(events.of_model(engine.data), engine.data)
    count = len(x)
    if count < 2:
        raise InvalidInput(f"{file}: expected at least 2 events, a pair, got {count}")
    pairs = min(count // 2, most or count)
    mean = engine.interpolate(x[0 : 2 * pairs : 2], x[1 : 2 * pairs : 2], steps, path)
    events_file.write_means(out, {"x_mean": mean}, steps, engine)
    alone = f"; event {count - 1} has no partner" if count % 2 else ""
    drawn = events_file.of_all(pairs, count // 2, "pairs")
    say(f"{drawn}, {steps} points each, {path}{alone}, {place(engine)}{arrow(out)}")
