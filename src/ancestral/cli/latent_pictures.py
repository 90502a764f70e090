"""`ancestral reconstruct`, `interpolate` and `latent-grid`: pictures of latents."""

from functools import partial
from typing import Annotated, Literal

import typer

from ancestral.cli import options
from ancestral.decimals import decimals
from ancestral.errors import InvalidInput

_latents = partial(typer.Option, rich_help_panel="Latents")


def reconstruct(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: options.EventsFile,
    out: options.MeansFile,
    n: Annotated[int, options.number_in_picture("events")] = 16,
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Encode events, decode them, and write the reconstructions.

    A reconstruction is E[x | z], where z is the mean of q(z | x), or the event's codes. A picture
    shows the events in the upper row and their reconstructions below.
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
    steps: Annotated[
        int, _latents(metavar="N", help="Number of points of a path, including both ends.")
    ] = 8,
    path: Annotated[
        Literal["linear", "spherical"],
        _latents(
            metavar="NAME",
            help="linear, or spherical: the direction follows the great circle, and the length "
            "changes linearly.",
        ),
    ] = "linear",
    n: Annotated[int, options.number_in_picture("pairs")] = 16,
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Interpolate between pairs of events in latent space.

    The pairs are events 0 and 1, 2 and 3, and so on. Writes E[x | z] along a path between the means
    of q(z | x) of both events. A picture has one row per pair.
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
        raise InvalidInput(f"{file}: expected at least 2 events, got {count}")
    pairs = min(count // 2, most or count)
    mean = engine.interpolate(x[0 : 2 * pairs : 2], x[1 : 2 * pairs : 2], steps, path)
    unpaired = f"; event {count - 1} has no partner" if count % 2 else ""
    drawn = events_file.of_all(pairs, count // 2, "pairs")
    summary = f"{drawn}, {steps} points each, {path}{unpaired}"
    events_file.write_means(out, {"x_mean": mean}, steps, engine, summary)


def latent_grid(
    bundle: options.BundlePath,
    out: options.MeansFile,
    side: Annotated[
        int,
        _latents(
            metavar="N",
            help="Points in each dimension, at evenly spaced quantiles of a standard normal.",
        ),
    ] = 10,
    dimensions: Annotated[
        str | None,
        _latents(
            metavar="I,J",
            help="Dimensions of the flattened latents that vary downwards and to the right. "
            "Default: the two whose posterior means vary most over samples of the model.",
        ),
    ] = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Decode a grid over two latent dimensions.

    Writes E[x | z] at the points of the grid, with the other dimensions at 0.
    """
    from ancestral.cli.present.events_file import check_means_file, load_for_means, write_means

    chosen = None
    if dimensions is not None:
        form = "two integers, for example 0,3"
        down, right = decimals("--dimensions", dimensions, form, (2,))
        chosen = (down, right)
    check_means_file(out, bundle)
    engine = load_for_means(bundle, out, backend, device, threads)
    if chosen is None and not engine.codes:
        chosen = engine.widest()
    mean = engine.latent_grid(side, chosen)
    names = "" if chosen is None else f"{chosen[0]} and {chosen[1]}"
    points = f"{side} x {side} points of the dimensions {names}"
    write_means(out, {"x_mean": mean}, side, engine, points)
