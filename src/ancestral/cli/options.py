"""Arguments and options that several commands share."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ancestral.decimals import decimal
from ancestral.errors import InvalidInput
from ancestral.excerpts import quoted
from ancestral.threads import MEASURE, ThreadCount, is_measured

if TYPE_CHECKING:
    from ancestral.engine import Engine


def panel(name: str) -> Any:
    """Return what makes options that are shown under a heading of the help."""
    return partial(typer.Option, rich_help_panel=name)


input_option = panel("Input")
sampling_option = panel("Sampling")
output_option = panel("Output")
precision_option = panel("Quantised weights")
backend_option = panel("Backend")
npz_option = partial(output_option, "-o", "--out", metavar="FILE.npz")

BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Bundle folder written by `ancestral export`.")
]
Backend = Annotated[
    str,
    backend_option(
        metavar="NAME",
        help="torch, onnxruntime, triton or tensorrt (after `ancestral compile`).",
    ),
]
Backends = Annotated[
    list[str] | None,
    backend_option(
        "--backend",
        metavar="NAME",
        help="torch, onnxruntime, triton or tensorrt; may be repeated. Default: every installed "
        "backend that can run the bundle on the device; tensorrt only if the bundle is compiled.",
    ),
]
Device = Annotated[
    str,
    backend_option(
        metavar="DEVICE", help="cpu, cuda or cuda:N. There is no fallback to another device."
    ),
]


def _threads(text: str) -> ThreadCount:
    """Return the value of --threads.

    Raises:
        typer.BadParameter: it is neither a number nor "measure".
    """
    number = decimal(text)
    if number is None and not is_measured(text):
        raise typer.BadParameter(f"expected an integer or measure, got {quoted(text)}")
    return MEASURE if number is None else number


Threads = Annotated[
    # Typer knows no unions; `_threads` makes the value, and `Engine.load` checks it.
    Any,
    backend_option(
        metavar="N",
        parser=_threads,
        help="CPU threads, at most 4 per core; measure: time them once for each batch size, and "
        "use the fastest (onnxruntime). Default: chosen by the backend.",
    ),
]
Dtype = Annotated[
    str | None,
    backend_option(
        metavar="NAME",
        help="Type in which triton computes: float32, bfloat16 or float16. Default: the bundle's "
        "type, which all other backends use.",
    ),
]
BatchInvariant = Annotated[
    bool,
    backend_option(
        "--batch-invariant",
        help="Give a row the same bits in any batch, with our own matrix product; triton only.",
    ),
]
Json = Annotated[bool, output_option("--json", help="Print one JSON document and nothing else.")]
EventsFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help=".npz with events x, or .npy with events. Also accepts files written by "
        "`ancestral sample`.",
    ),
]
Binarise = Annotated[
    bool,
    input_option(
        "--binarise",
        help="Replace each value by 1 with probability level / (levels - 1), else by 0, as "
        "`ancestral train --binarise` does for validation and test. For models trained that way.",
    ),
]
Levels = Annotated[
    int | None,
    input_option(
        metavar="N",
        help="Number of levels in the file, for --binarise. Default: its largest value + 1.",
    ),
]
Latents = Annotated[int, sampling_option("-k", metavar="K", help="Number of latents per event.")]
BoundSeed = Annotated[
    int,
    sampling_option(
        metavar="N",
        help="Seed of the noise. The latents of event i depend only on the seed and on i.",
    ),
]
Proposal = Annotated[
    Literal["posterior", "prior"],
    sampling_option(
        metavar="NAME",
        help="Draw latents from q(z | x) (posterior) or p(z) (prior: naive Monte Carlo).",
    ),
]
BoundLabel = Annotated[
    int | None,
    input_option(
        metavar="N",
        help="Bound log p(x | y) for this label; only for a prior over codes with classes.",
    ),
]
MeansFile = Annotated[
    Path,
    output_option(
        "-o",
        "--out",
        metavar="FILE",
        help=".png: a picture that keeps the greys of the means. .npz: x_mean, E[x | z] in units "
        "of levels.",
    ),
]


def bias(texts: Sequence[str]) -> list[tuple[int, float]]:
    """Return the pairs of --logit-bias.

    >>> bias(["5=-inf,7=2.5", "1=0"])
    [(5, -inf), (7, 2.5), (1, 0.0)]

    Raises:
        InvalidInput: a part is not an id, an equals sign and a number.
    """
    pairs = []
    for part in ",".join(texts).split(",") if texts else ():
        left, _, right = part.partition("=")
        number = decimal(left)
        try:
            nats = float(right)
        except ValueError:
            number = None
        if number is None:
            raise InvalidInput(
                f"--logit-bias: expected ID=NATS, for example 5=-1.5 or 5=-inf, got {quoted(part)}"
            )
        pairs.append((number, nats))
    return pairs


def seed(value: int) -> int:
    """Return the seed of --seed.

    Raises:
        InvalidInput: it is not in 0 .. 2^64 - 1.
    """
    from ancestral.scalars import whole

    return whole("--seed", value, 0, 2**64 - 1)


def number_in_picture(what: str) -> Any:
    """Return the option -n of a command that writes a picture or an .npz."""
    return output_option(
        "-n", metavar="N", help=f"Maximum number of {what} in a picture; an .npz has all."
    )


def load(
    bundle: Path,
    backend: str,
    device: str,
    threads: ThreadCount,
    dtype: str | None,
    batch_invariant: bool = False,
) -> "Engine":
    """Load a bundle on a backend, passing only the options that were given."""
    from ancestral.engine import Engine

    every: dict[str, Any] = {"dtype": dtype, "batch_invariant": batch_invariant or None}
    given = {name: value for name, value in every.items() if value is not None}
    return Engine.load(bundle, backend=backend, device=device, threads=threads, **given)
