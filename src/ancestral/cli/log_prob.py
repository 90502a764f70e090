"""`ancestral log-prob`: how probable events of one's own are."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli import options
from ancestral.cli.output import check_target, put, say
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.cli.events import Events
    from ancestral.engine import AutoregressiveEngine

_sequence = partial(typer.Option, rich_help_panel="Sequences of any length")


def log_prob(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
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
        int | None, typer.Option(help="Label of all events, instead of those in the file.")
    ] = None,
    out: Annotated[
        Path | None,
        options.npz_option(
            help="Write log_prob, in nats, to it; of a sequence that of each token, with ids and "
            "seen, the number of tokens that it is given."
        ),
    ] = None,
    text: Annotated[
        Path | None,
        _sequence(metavar="FILE", help="A text in UTF-8, of any length, instead of events."),
    ] = None,
    ids: Annotated[
        Path | None,
        _sequence(metavar="FILE", help=".npy or .npz (ids) with a sequence of ids, of any length."),
    ] = None,
    stride: Annotated[
        int | None,
        _sequence(
            help="Slide windows of T positions by so many: each token is scored once, given at "
            "least T - stride tokens before it, or all there are. Default: T / 2."
        ),
    ] = None,
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    batch_invariant: options.BatchInvariant = False,
) -> None:
    """Print log p of each event in nats, their mean, and bits/dim with its standard error.

    Of a text: nats, perplexity, and bits/byte of its canonical tokenisation, an upper bound.
    """
    from ancestral.cli.events import Events
    from ancestral.cli.text_log_prob import text_log_prob
    from ancestral.engine import AutoregressiveEngine, Engine

    check_target(out, (".npz",), keep=(bundle, file, text, ids))
    given = sum(each is not None for each in (file, text, ids))
    if given != 1:
        raise InvalidInput(
            f"log-prob: expected one of FILE (events), --text FILE or --ids FILE, got {given} of "
            f"them"
        )
    if file is not None and stride is not None:
        raise InvalidInput("--stride: of --text or --ids; whole events have no windows")
    if file is None and (binarise or levels is not None):
        option = "--binarise" if binarise else "--levels"
        raise InvalidInput(f"{option}: expected FILE with events: text and ids have no grey")
    events = None if file is None else Events.read(file, binarise, levels)
    engine = Engine.load(
        bundle,
        backend=backend,
        device=device,
        threads=threads,
        **options.backend_options(dtype, batch_invariant),
    )
    if not isinstance(engine, AutoregressiveEngine):
        raise InvalidInput(
            f"{bundle}: log p(x) of a latent variable model is not known, only bounded: expected "
            f"an autoregressive bundle, or run `ancestral bound` on it"
        )
    if events is None:
        text_log_prob(engine, text, ids, stride, label, out)
    else:
        _of_events(engine, events, label, out)


def _of_events(
    engine: "AutoregressiveEngine", events: "Events", label: int | None, out: Path | None
) -> None:
    """Print or write log p of each event, and say their mean."""
    from ancestral.cli.events import check_labelled, labels_in
    from ancestral.cli.present.bound_summary import Mean
    from ancestral.files.array_file import write_arrays
    from ancestral.units import bits_per_dim, bits_unit

    labels: Any = label
    if label is None and engine.data.num_classes is not None:
        labels = labels_in(events.arrays)
    x = events.of_model(engine.data)
    check_labelled(events.arrays.path, labels, engine)
    nats = engine.log_prob(x, labels)
    if out is None:
        for value in nats:
            put(f"{value:z.6f}")
    else:
        write_arrays(out, {"log_prob": nats})
    bits, unit = bits_per_dim(nats, engine.data.event_shape), bits_unit(engine.data.tokenizer)
    one = len(nats) == 1
    what, error = ("1 event:", "") if one else (f"{len(nats)} events: mean", " (+- standard error)")
    name = f"log p(x{'' if labels is None else ' | y'})"
    say(f"{what} {name} = {Mean.of(nats)} nats, {Mean.of(bits)} {unit}{error}")
