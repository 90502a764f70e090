"""Arguments and options that several commands share."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ancestral.engine import Engine

where_option = partial(typer.Option, rich_help_panel="Where it runs")
npz_option = partial(typer.Option, "-o", "--out", metavar="FILE.npz")

BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder that `ancestral export` wrote.")
]
Backend = Annotated[
    str,
    where_option(
        help="Runtime: torch, onnxruntime, triton, or tensorrt (after `ancestral compile`).",
        metavar="NAME",
    ),
]
Backends = Annotated[
    list[str] | None,
    where_option(
        "--backend",
        metavar="NAME",
        help="A runtime: torch, onnxruntime, triton or tensorrt; may be repeated. Default: all "
        "that are installed (with --device cuda triton too, and tensorrt where the bundle was "
        "compiled).",
    ),
]
Device = Annotated[str, where_option(help="cpu, cuda or cuda:N. Nothing falls back to another.")]
Threads = Annotated[
    int | None,
    where_option(
        help="CPU threads of the runtime, at most 4 times the cores. Default: its own choice."
    ),
]
Dtype = Annotated[
    str | None,
    where_option(
        metavar="NAME",
        help="What backend triton computes in: float32, bfloat16 or float16. Default: the bundle's "
        "type, as all other backends.",
    ),
]
BatchInvariant = Annotated[
    bool,
    where_option(
        "--batch-invariant",
        help="Backend triton: the same bits for a row in any batch, by our own matrix product.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]
EventsFile = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help=".npz with events x, or .npy with events; what `ancestral sample` writes is read too.",
    ),
]
Binarise = Annotated[
    bool,
    typer.Option(
        "--binarise",
        help="Make each value 0 or 1, the latter with probability level / (levels - 1), event i as "
        "`ancestral train --binarise` does with the event of index i of validation and test: for "
        "a model that was trained so.",
    ),
]
Levels = Annotated[
    int | None,
    typer.Option(
        help="Number of levels in the file, for --binarise. Default: one more than its largest "
        "value, as in training."
    ),
]
MeansFile = Annotated[
    Path,
    typer.Option(
        "-o",
        "--out",
        metavar="FILE",
        help=".png: a picture, in which means keep their greys. .npz: x_mean, E[x | z] in units of "
        "levels.",
    ),
]


def load(
    bundle: Path,
    backend: str,
    device: str,
    threads: int | None,
    dtype: str | None,
    batch_invariant: bool = False,
) -> "Engine":
    """A bundle on a backend, with those options of the backend that were given."""
    from ancestral.engine import Engine

    every: dict[str, Any] = {"dtype": dtype, "batch_invariant": batch_invariant or None}
    given = {name: value for name, value in every.items() if value is not None}
    return Engine.load(bundle, backend=backend, device=device, threads=threads, **given)
