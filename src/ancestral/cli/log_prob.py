"""`ancestral log-prob`: how probable events of one's own are."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli.options import (
    Backend,
    BatchInvariant,
    Binarise,
    BundlePath,
    Device,
    Dtype,
    Levels,
    Threads,
    backend_options,
)
from ancestral.cli.output import check_target, put, say
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ancestral.dataspec import DataSpec

_SEQUENCES = "Sequences of any length"


def log_prob(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help=".npz with events x and, for a conditional model, labels y (or labels); "
            "or .npy with events. What `ancestral sample` writes is read too.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        int | None,
        typer.Option(help="Label of all events, instead of those in the file.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--out",
            metavar="FILE.npz",
            help="Write log_prob, in nats, to it; of a sequence that of each token, with ids and "
            "seen, the number of tokens that it is given.",
        ),
    ] = None,
    text: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A text in UTF-8, of any length, instead of events.",
            show_default=False,
            rich_help_panel=_SEQUENCES,
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help=".npy or .npz (ids) with a sequence of ids, of any length.",
            show_default=False,
            rich_help_panel=_SEQUENCES,
        ),
    ] = None,
    stride: Annotated[
        int | None,
        typer.Option(
            help="Slide windows of T positions by so many: each token is scored once, given at "
            "least T - stride tokens before it, or all there are. Default: T / 2.",
            show_default=False,
            rich_help_panel=_SEQUENCES,
        ),
    ] = None,
    binarise: Binarise = False,
    levels: Levels = None,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
    dtype: Dtype = None,
    batch_invariant: BatchInvariant = False,
) -> None:
    """Print log p of each event in nats, their mean, and bits/dim with its standard error.

    Of a text: nats, perplexity, and bits/byte of its canonical tokenisation, an upper bound.
    """
    from ancestral.cli.arrays import pick, read_arrays, write_arrays
    from ancestral.cli.events import Binarising, model_events
    from ancestral.cli.present.labels import check_labelled, in_file
    from ancestral.cli.text_log_prob import Source, text_log_prob
    from ancestral.engine import AutoregressiveEngine, Engine

    if out is not None:
        check_target(out, (".npz",), keep=(bundle, file, text, ids))
    source = Source(text, ids, stride)
    source.check(file)
    binarising = Binarising(binarise, levels)
    if binarise and file is None:
        raise InvalidInput("--binarise: expected FILE with events: text and ids have no grey")
    arrays = {} if file is None else read_arrays(file)
    engine = Engine.load(
        bundle,
        backend=backend,
        device=device,
        threads=threads,
        **backend_options(dtype, batch_invariant),
    )
    if not isinstance(engine, AutoregressiveEngine):
        raise InvalidInput(
            f"{bundle}: log p(x) of a latent variable model is not known, only bounded: expected "
            f"an autoregressive bundle, or run `ancestral bound` on it"
        )
    if file is None:
        text_log_prob(engine, source, label, out)
        return
    labels: Any = label
    if label is None and engine.data.num_classes is not None:
        labels = in_file(arrays)
    x = model_events(file, pick(file, arrays, ("x",)), engine.data, binarising)
    check_labelled(file, labels, engine)
    nats = engine.log_prob(x, labels)
    if out is None:
        for value in nats:
            put(f"{value:z.6f}")
    else:
        write_arrays(out, {"log_prob": nats})
    say(_summary(nats, engine.data, f"log p(x{'' if labels is None else ' | y'})"))


def _summary(nats: "NDArray[Any]", data: "DataSpec", name: str) -> str:
    """Mean and standard error; one event has none."""
    from ancestral.units import bits_per_dim, bits_unit, fixed

    bits, unit = bits_per_dim(nats, data.event_shape), bits_unit(data.tokenizer)
    if len(nats) == 1:
        return f"1 event: {name} = {fixed(nats[0], 4)} nats, {fixed(bits[0], 4)} {unit}"
    in_nats, in_bits = (
        f"{fixed(values.mean(), 4)} +- {fixed(values.std(ddof=1) / len(nats) ** 0.5, 4)}"
        for values in (nats, bits)
    )
    return f"{len(nats)} events: mean {name} = {in_nats} nats, {in_bits} {unit} (+- standard error)"
