"""`ancestral log-prob`: log-probabilities of events, texts and ids."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from ancestral.cli import options
from ancestral.cli.output import check_target
from ancestral.errors import InvalidInput


def log_prob(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help=".npz with events x and, for a conditional model, labels y (or labels); "
            "or .npy with events. Also accepts files written by `ancestral sample`.",
            show_default=False,
        ),
    ] = None,
    label: Annotated[
        int | None,
        options.input_option(
            metavar="N", help="Label of all events, instead of the labels in the file."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        options.npz_option(
            help="Write log_prob, in nats. For a sequence: log_prob of each token, ids, and seen, "
            "the number of tokens before it that condition it."
        ),
    ] = None,
    text: Annotated[
        Path | None,
        options.input_option(
            metavar="FILE", help="UTF-8 text of any length to score, instead of events."
        ),
    ] = None,
    ids: Annotated[
        Path | None,
        options.input_option(
            metavar="FILE",
            help=".npy or .npz (ids) with a sequence of ids of any length to score, instead of "
            "events.",
        ),
    ] = None,
    stride: Annotated[
        int | None,
        options.input_option(
            metavar="N",
            help="Positions by which windows slide over a text or ids. In a context of T positions "
            "each token is scored once, given at least the T - N tokens before it, or all of "
            "them. Default: T / 2.",
        ),
    ] = None,
    path: Annotated[
        Literal["parallel", "steps"],
        options.input_option(
            metavar="NAME",
            help="parallel: one pass over all positions. steps: position by position, as `sample` "
            "computes; slower.",
        ),
    ] = "parallel",
    top: Annotated[
        int | None,
        options.output_option(
            "--top",
            metavar="K",
            help="Also the K most probable values at each position, 1 .. 20, and their log p in "
            "nats: a line for each position, or top_ids and top_log_prob in --out.",
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
    """Compute the log-probability of events or of a text.

    For events, prints log p of each in nats, the mean, and bits/dim with its standard error. For a
    text or ids, prints nats, perplexity and bits/byte; bits/byte are of the canonical tokenisation,
    an upper bound.
    """
    from ancestral.cli.events import Events
    from ancestral.cli.likelihood import Wanted, events_log_prob, text_log_prob
    from ancestral.engine import AutoregressiveEngine

    check_target(out, (".npz",), keep=(bundle, file, text, ids))
    if top is not None and path == "steps":
        raise InvalidInput("--top: only used with --path parallel; leave one of them out")
    given = sum(each is not None for each in (file, text, ids))
    if given != 1:
        raise InvalidInput(
            f"FILE: expected one of FILE (events), --text FILE and --ids FILE, got {given} of them"
        )
    if file is not None and stride is not None:
        raise InvalidInput("--stride: only used with --text or --ids; leave it out")
    if file is None and (binarise or levels is not None):
        option = "--binarise" if binarise else "--levels"
        raise InvalidInput(f"{option}: only used with FILE (events); leave it out")
    events = None if file is None else Events.read(file, binarise, levels)
    engine = options.load(bundle, backend, device, threads, dtype, batch_invariant)
    if not isinstance(engine, AutoregressiveEngine):
        raise InvalidInput(
            f"{bundle}: log p(x) of a latent variable model can only be bounded; use `ancestral "
            f"bound`, or pass an autoregressive bundle"
        )
    wanted = Wanted(out, path, top)
    if events is None:
        text_log_prob(engine, text, ids, stride, label, wanted)
    else:
        events_log_prob(engine, events, label, wanted)
