"""`ancestral latent-grid`: what two latent dimensions change."""

from typing import Annotated

import typer

from ancestral.cli import options
from ancestral.cli.output import arrow, place, say
from ancestral.decimals import decimal
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted


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

    chosen = None if dimensions is None else pair(dimensions)
    check_means_file(out, bundle)
    engine = load_for_means(bundle, out, backend, device, threads)
    if chosen is None and engine.latent.posterior != "codes":
        chosen = engine.widest()
    mean = engine.latent_grid(side, chosen)
    write_means(out, {"x_mean": mean}, side, engine)
    told = "" if chosen is None else f"{chosen[0]} and {chosen[1]}"
    say(f"{side} x {side} points of the dimensions {told}, {place(engine)}{arrow(out)}")


def pair(text: str) -> tuple[int, int]:
    """Two whole numbers with a comma between them.

    >>> pair("0,3")
    (0, 3)

    Raises:
        InvalidInput: something else.
    """
    first, _, second = text.partition(",")
    down, right = decimal(first), decimal(second)
    if down is None or right is None:
        raise InvalidInput(f"--dimensions: expected two whole numbers like 0,3, got {quoted(text)}")
    return down, right
