"""`ancestral bound`: lower bounds on log p(x) of events of one's own."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli.options import Backend, Binarise, BundlePath, Device, Json, Levels, Threads
from ancestral.cli.output import check_target, json_text, put, say
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ancestral.engine import Bound

_OF_EVENTS = ("elbo", "iwae", "reconstruction", "kl", "stderr_elbo", "stderr_iwae", "ess")


class Proposal(StrEnum):
    """What latents can be drawn from."""

    POSTERIOR = "posterior"
    PRIOR = "prior"


def bound(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
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
        Proposal,
        typer.Option(help="What latents are drawn from: q(z | x), or p(z), naive Monte Carlo."),
    ] = Proposal.POSTERIOR,
    label: Annotated[
        int | None,
        typer.Option(
            help="Bound log p(x | y) of this label; of a prior over codes with classes.",
            show_default=False,
        ),
    ] = None,
    labelled: Annotated[
        bool, typer.Option("--labelled", help="Bound log p(x | y) of the labels in the file.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE.npz", help="Write elbo, iwae and their terms, in nats."
        ),
    ] = None,
    binarise: Binarise = False,
    levels: Levels = None,
    json: Json = False,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
) -> None:
    """Print ELBO, IWAE, its standard error and effective sample size of each event, in nats.

    Both are lower bounds on log p(x), the sum over all classes unless labels are asked for; IWAE
    rises with k. A summary is said beside. Codes have one bound, log p(x | z) + log p(z).
    """
    from ancestral.cli.arrays import pick, read_arrays, write_arrays
    from ancestral.cli.events import Binarising, model_events
    from ancestral.cli.present.bound_summary import Asked, document, summary
    from ancestral.engine import LatentEngine
    from ancestral.progress import progress_bar

    if out is not None:
        check_target(out, (".npz",), keep=(bundle, file))
    binarising = Binarising(binarise, levels)
    arrays = read_arrays(file)
    x = pick(file, arrays, ("x",))
    labels = _labels(file, arrays, label, labelled)
    engine = LatentEngine.load(bundle, backend=backend, device=device, threads=threads)
    x = model_events(file, x, engine.data, binarising)
    with progress_bar("bounding") as progress:
        found = engine.bound(x, k, seed, labels=labels, proposal=proposal.value, progress=progress)
    if out is not None:
        write_arrays(out, _arrays(found))
    asked = Asked(seed, proposal.value, labels is not None, x.dtype.kind == "f")
    if json:
        put(json_text({"bundle": str(bundle), **document(found, engine, asked)}))
    elif out is None:
        for row in zip(found.elbo, found.iwae, found.stderr_iwae, found.ess, strict=True):
            elbo, iwae, error, ess = row
            put(f"{elbo:z.6f} {iwae:z.6f} {error:z.6f} {ess:.1f}")
    for line in summary(found, engine, asked):
        say(line)
    if out is not None:
        say(f"-> {out}")


def _labels(
    file: Path, arrays: "Mapping[str, NDArray[Any]]", label: int | None, labelled: bool
) -> "int | NDArray[Any] | None":
    """Those that were asked for."""
    from ancestral.arrays import shown
    from ancestral.cli.present.labels import in_file

    if not labelled:
        return label
    if label is not None:
        raise InvalidInput("--labelled: expected the labels of the file or --label, got both")
    labels = in_file(arrays)
    if labels is None:
        raise InvalidInput(
            f"--labelled: expected y or labels in {file}, got {shown(sorted(arrays))}"
        )
    return labels


def _arrays(found: "Bound") -> "dict[str, NDArray[Any]]":
    import numpy as np

    arrays = {name: getattr(found, name) for name in _OF_EVENTS}
    if found.kl_closed is not None:
        arrays["kl_closed"] = found.kl_closed
    return arrays | {"k": np.asarray(found.k)}
