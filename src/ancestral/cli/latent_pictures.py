"""`ancestral reconstruct`, `interpolate` and `latent-grid`: pictures of latents."""

from typing import Annotated, Literal

import typer

from ancestral.cli import options
from ancestral.decimals import decimals
from ancestral.errors import InvalidInput


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
    drawn = events_file.of_all(len(mean), len(events.x), "events")
    events_file.write_means(out, arrays, len(mean), engine, drawn, arrays["x"])


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
    alone = f"; event {count - 1} has no partner" if count % 2 else ""
    drawn = events_file.of_all(pairs, count // 2, "pairs")
    told = f"{drawn}, {steps} points each, {path}{alone}"
    events_file.write_means(out, {"x_mean": mean}, steps, engine, told)


def latent_grid(
    bundle: options.BundlePath,
    out: options.MeansFile,
    side: Annotated[
        int, typer.Option(help="Points of each dimension, at even quantiles of N(0, 1).")
    ] = 10,
    dimensions: Annotated[
        str | None,
        typer.Option(
            metavar="I,J",
            help="The dimensions, of the flattened latents, that run down and to the right. "
            "Default: the two whose posterior means vary most over samples of the model.",
        ),
    ] = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Write E[x | z] over two latent dimensions, the others at 0."""
    from ancestral.cli.present.events_file import check_means_file, load_for_means, write_means

    chosen = None
    if dimensions is not None:
        down, right = decimals("--dimensions", dimensions, "two whole numbers like 0,3", (2,))
        chosen = (down, right)
    check_means_file(out, bundle)
    engine = load_for_means(bundle, out, backend, device, threads)
    if chosen is None and not engine.codes:
        chosen = engine.widest()
    mean = engine.latent_grid(side, chosen)
    told = "" if chosen is None else f"{chosen[0]} and {chosen[1]}"
    points = f"{side} x {side} points of the dimensions {told}"
    write_means(out, {"x_mean": mean}, side, engine, points)
