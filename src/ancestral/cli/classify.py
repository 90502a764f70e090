"""`ancestral classify`: classify events by Bayes' rule."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli import options
from ancestral.cli.output import arrow, check_target, json_text, place, put, say, show, table

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.engine.calibration import Calibration


def classify(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="EVENTS",
            help=".npz with events x and, if they are known, their true classes y (or labels); "
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
    """Find the most probable class of each event.

    Uses Bayes' rule, p(y | x) = p(x | y) p(y) / p(x), with p(y) of the training data. Prints the
    classes, one per line, or writes them with -o. If the file has the true classes, prints
    accuracy, log loss and calibration instead.
    """
    from ancestral.cli.events import Events, labels_in
    from ancestral.engine import AutoregressiveEngine
    from ancestral.engine.calibration import calibration
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
