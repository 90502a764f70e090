"""`ancestral latent-grid`: what two latent dimensions change."""

from typing import Annotated

import typer

from ancestral.cli.options import Backend, BundlePath, Device, MeansFile, Threads
from ancestral.cli.output import say
from ancestral.decimals import decimal
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted


def latent_grid(
    bundle: BundlePath,
    out: MeansFile,
    side: Annotated[
        int, typer.Option(help="Points of each dimension, at even quantiles of N(0, 1).")
    ] = 10,
    dimensions: Annotated[
        str | None,
        typer.Option(
            metavar="I,J",
            help="The dimensions, of the flattened latents, that run down and to the right. "
            "Default: the two whose posterior means vary most over samples of the model.",
            show_default=False,
        ),
    ] = None,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Write E[x | z] over two latent dimensions, the others at 0."""
    from ancestral.cli.present.means_file import check_means_target, write_means
    from ancestral.engine import LatentEngine

    chosen = None if dimensions is None else pair(dimensions)
    check_means_target(out, keep=(bundle,))
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    check_means_target(out, engine)
    if chosen is None and engine.latent.posterior != "codes":
        chosen = engine.widest()
    mean = engine.latent_grid(side, chosen)
    write_means(out, {"x_mean": mean}, mean.reshape(-1, *engine.data.event_shape), side, engine)
    told = "" if chosen is None else f"{chosen[0]} and {chosen[1]}"
    where = f"{engine.backend.name} on {engine.backend.device}"
    say(f"{side} x {side} points of the dimensions {told}, {where} -> {out}")


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
