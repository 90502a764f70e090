"""`ancestral log-prob`, `bound` and `classify`: probabilities of events, and of their classes."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from ancestral.cli import options
from ancestral.cli.output import arrow, check_target, json_text, place, put, say, show, table
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.engine.classify import Calibration

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


def classify(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="EVENTS",
            help=".npz with events x and, where they are known, their true classes y (or labels); "
            "or .npy with events.",
        ),
    ],
    out: Annotated[
        Path | None, options.npz_option(help="Write label, log_posterior and log_joint.")
    ] = None,
    binarise: options.Binarise = False,
    levels: options.Levels = None,
    backend: options.Backend = "onnxruntime",
    device: options.Device = "cpu",
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Find the most probable class of each event, by Bayes' rule.

    p(y | x) is p(x | y) p(y) / p(x), with p(y) of the training data. With the true classes,
    accuracy, log loss and calibration are told; without, the classes are printed, one a line.
    """
    from ancestral.cli.events import Events, labels_in
    from ancestral.engine import AutoregressiveEngine
    from ancestral.engine.classify import calibration
    from ancestral.files.array_file import write_arrays

    check_target(out, (".npz",), keep=(bundle, file))
    events = Events.read(file, binarise, levels)
    truth = labels_in(events.arrays)
    engine = AutoregressiveEngine.load(bundle, backend=backend, device=device, threads=threads)
    result = engine.classify(events.of_model(engine.data))
    checked = None if truth is None else calibration(result, truth)
    classes = result.log_posterior.shape[1]
    if out is not None:
        names = ("label", "log_posterior", "log_joint")
        write_arrays(out, {name: getattr(result, name) for name in names})
    if json:
        document = {
            "bundle": str(bundle),
            "backend": engine.backend.name,
            "device": engine.backend.device,
            "events": len(result),
            "classes": classes,
            "label": result.label.tolist(),
            "calibration": None if checked is None else checked.to_json(),
        }
        put(json_text(document))
    elif checked is not None:
        show(_bins(checked))
        put(_summary(checked))
    elif out is None:
        for label in result.label:
            put(int(label))
    say(f"{len(result)} events, {classes} classes, {place(engine)}{arrow(out)}")


def _summary(checked: "Calibration") -> str:
    error = "" if checked.events == 1 else f" +- {checked.accuracy_error:.4f} (standard error)"
    return (
        f"accuracy {checked.accuracy:.4f}{error}, log loss {checked.log_loss:.4f} nats, "
        f"expected calibration error {checked.expected_error:.4f}"
    )


def _bins(checked: "Calibration") -> "Table":
    rows = []
    for each in checked.bins:
        means = (f"{each.confidence:.3f}", f"{each.accuracy:.3f}") if each.count else ("-", "-")
        rows.append((f"{each.low:.1f} to {each.high:.1f}", f"{each.count:,}", *means))
    return table(
        "Calibration, by the probability of the most probable class",
        ("p(y | x)", "events", "mean p(y | x)", "accuracy"),
        rows,
    )
