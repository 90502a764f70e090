"""`ancestral log-prob`: log-probabilities of events, texts and ids."""

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ancestral.cli import options
from ancestral.cli.output import check_target
from ancestral.errors import InvalidInput

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
    from ancestral.cli.likelihood import events_log_prob, text_log_prob
    from ancestral.engine import AutoregressiveEngine

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
    engine = options.load(bundle, backend, device, threads, dtype, batch_invariant)
    if not isinstance(engine, AutoregressiveEngine):
        raise InvalidInput(
            f"{bundle}: log p(x) of a latent variable model is not known, only bounded: expected "
            f"an autoregressive bundle, or run `ancestral bound` on it"
        )
    if events is None:
        text_log_prob(engine, text, ids, stride, label, out)
    else:
        events_log_prob(engine, events, label, out)
