"""Arguments and options that several commands share."""

from pathlib import Path
from typing import Annotated, Any

import typer

WHERE = "Where it runs"

BundlePath = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="Folder that `ancestral export` wrote.")
]
Backend = Annotated[
    str,
    typer.Option(
        help="Runtime: torch, onnxruntime, triton, or tensorrt (after `ancestral compile`).",
        metavar="NAME",
        rich_help_panel=WHERE,
    ),
]
Backends = Annotated[
    list[str] | None,
    typer.Option(
        "--backend",
        metavar="NAME",
        help="A runtime: torch, onnxruntime, triton or tensorrt; may be repeated. Default: all "
        "that are installed (with --device cuda triton too, and tensorrt where the bundle was "
        "compiled).",
        rich_help_panel=WHERE,
    ),
]
Device = Annotated[
    str,
    typer.Option(help="cpu, cuda or cuda:N. Nothing falls back to another.", rich_help_panel=WHERE),
]
Threads = Annotated[
    int | None,
    typer.Option(
        help="CPU threads of the runtime, at most 4 times the cores. Default: its own choice.",
        show_default=False,
        rich_help_panel=WHERE,
    ),
]
Dtype = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="What backend triton computes in: float32, bfloat16 or float16. Default: the bundle's "
        "type, as all other backends.",
        show_default=False,
        rich_help_panel=WHERE,
    ),
]
BatchInvariant = Annotated[
    bool,
    typer.Option(
        "--batch-invariant",
        help="Backend triton: the same bits for a row in any batch, by our own matrix product.",
        rich_help_panel=WHERE,
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
        "value, as in training.",
        show_default=False,
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


def backend_options(dtype: str | None, batch_invariant: bool = False) -> dict[str, Any]:
    """The options of a backend that were given."""
    given = {"dtype": dtype, "batch_invariant": batch_invariant or None}
    return {name: value for name, value in given.items() if value is not None}
