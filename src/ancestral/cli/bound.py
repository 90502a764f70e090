"""`ancestral bound`: lower bounds on the log-probability of events."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ancestral.cli import options
from ancestral.cli.output import check_target, json_text, put, say
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    pass


def bound(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".npz with events x and, for --labelled, labels y (or labels); or .npy with "
            "events. What `ancestral sample` writes is read too.",
        ),
    ],
    k: Annotated[int, typer.Option("-k", help="Latents of each event.")] = 64,
    seed: Annotated[int, typer.Option(help="The latents of event i are of (seed, i) alone.")] = 0,
    proposal: Annotated[
        Literal["posterior", "prior"],
        typer.Option(help="What latents are drawn from: q(z | x), or p(z), naive Monte Carlo."),
    ] = "posterior",
    label: Annotated[
        int | None,
        typer.Option(help="Bound log p(x | y) of this label; of a prior over codes with classes."),
    ] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Bound log p(x | y) of the labels in the file.")
    ] = False,
    out: Annotated[
        Path | None, options.npz_option(help="Write elbo, iwae and their terms, in nats.")
    ] = None,
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    json: options.Json = False,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
) -> None:
    """Print ELBO, IWAE, its standard error and effective sample size of each event, in nats.

    Both are lower bounds on log p(x), the sum over all classes unless labels are asked for; IWAE
    rises with k. A summary is said beside. Codes have one bound, log p(x | z) + log p(z).
    """
    from ancestral.arrays import shown
    from ancestral.cli.events import Events, labels_in
    from ancestral.cli.present.bound_summary import BoundSummary
    from ancestral.engine import LatentEngine
    from ancestral.files.array_file import write_arrays
    from ancestral.progress import progress_bar

    check_target(out, (".npz",), keep=(bundle, file))
    events = Events.read(file, binarise, levels)
    if labelled and label is not None:
        raise InvalidInput("--labelled: expected the labels of the file or --label, got both")
    labels: Any = labels_in(events.arrays) if labelled else label
    if labelled and labels is None:
        there = shown(sorted(events.arrays))
        raise InvalidInput(f"--labelled: expected y or labels in {file}, got {there}")
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    x = events.of_model(engine.data)
    with progress_bar("bounding") as progress:
        found = engine.bound(x, k, seed, labels=labels, proposal=proposal, progress=progress)
    labelled, real = labels is not None, x.dtype.kind == "f"
    summary = BoundSummary(found, engine, seed, proposal, labelled, real)
    if out is not None:
        write_arrays(out, summary.arrays())
    if json:
        put(json_text({"bundle": str(bundle), **summary.document()}))
    elif out is None:
        for row in zip(found.elbo, found.iwae, found.stderr_iwae, found.ess, strict=True):
            elbo, iwae, error, ess = row
            put(f"{elbo:z.6f} {iwae:z.6f} {error:z.6f} {ess:.1f}")
    for line in summary.lines():
        say(line)
    if out is not None:
        say(f"-> {out}")
