"""`ancestral log-prob`: how probable events of one's own are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli.options import (
    Backend,
    BatchInvariant,
    BundlePath,
    Device,
    Dtype,
    Threads,
)
from ancestral.cli.output import check_target, say
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray


def log_prob(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help=".npz with events x and, for a conditional model, labels y (or labels); "
            "or .npy with events. What `ancestral sample` writes is read too.",
        ),
    ],
    label: Annotated[
        int | None,
        typer.Option(help="Label of all events, instead of those in the file.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("-o", "--out", metavar="FILE.npz", help="Write log_prob, in nats, to it."),
    ] = None,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
    dtype: Dtype = None,
    batch_invariant: BatchInvariant = False,
) -> None:
    """Print log p of each event in nats, their mean, and bits/dim with its standard error."""
    from ancestral.cli.arrays import pick, read_arrays, write_arrays
    from ancestral.engine import AutoregressiveEngine, Engine

    if out is not None:
        check_target(out, (".npz",))
    arrays = read_arrays(file)
    labels: Any = arrays.get("y", arrays.get("labels")) if label is None else label
    engine = Engine.load(
        bundle,
        backend=backend,
        device=device,
        threads=threads,
        dtype=dtype,
        batch_invariant=batch_invariant,
    )
    if not isinstance(engine, AutoregressiveEngine):
        raise InvalidInput(
            f"{bundle}: log p(x) of a latent variable model is not known, only bounded: expected "
            f"an autoregressive bundle, or run `ancestral bound` on it"
        )
    nats = engine.log_prob(pick(file, arrays, ("x",)), labels)
    if out is None:
        for value in nats:
            typer.echo(f"{value:.6f}")
    else:
        write_arrays(out, {"log_prob": nats})
    say(_summary(nats, engine.data.event_shape, f"log p(x{'' if labels is None else ' | y'})"))


def _summary(nats: "NDArray[Any]", event_shape: tuple[int, ...], name: str) -> str:
    """Mean and standard error; one event has none."""
    from ancestral.units import bits_per_dim

    bits = bits_per_dim(nats, event_shape)
    if len(nats) == 1:
        return f"1 event: {name} = {nats[0]:.4f} nats, {bits[0]:.4f} bits/dim"
    root = len(nats) ** 0.5
    return (
        f"{len(nats)} events: mean {name} = {nats.mean():.4f} +- {nats.std(ddof=1) / root:.4f} "
        f"nats, {bits.mean():.4f} +- {bits.std(ddof=1) / root:.4f} bits/dim (+- standard error)"
    )
