"""`ancestral classify`: the classes of events of one's own, by Bayes' rule."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli.options import Backend, Binarise, BundlePath, Device, Json, Levels, Threads
from ancestral.cli.output import check_target, json_text, put, say, show, table

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.engine.calibration import Calibration


def classify(  # noqa: PLR0913 - the options of a command
    bundle: BundlePath,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="EVENTS",
            help=".npz with events x and, where they are known, their true classes y (or labels); "
            "or .npy with events.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "-o", "--out", metavar="FILE.npz", help="Write label, log_posterior and log_joint."
        ),
    ] = None,
    binarise: Binarise = False,
    levels: Levels = None,
    backend: Backend = "onnxruntime",
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Find the most probable class of each event, by Bayes' rule.

    p(y | x) is p(x | y) p(y) / p(x), with p(y) of the training data. With the true classes,
    accuracy, log loss and calibration are told; without, the classes are printed, one a line.
    """
    from ancestral.cli.arrays import pick, read_arrays, write_arrays
    from ancestral.cli.events import Binarising, model_events
    from ancestral.cli.present.labels import in_file
    from ancestral.engine import AutoregressiveEngine
    from ancestral.engine.calibration import calibration

    if out is not None:
        check_target(out, (".npz",), keep=(bundle, file))
    binarising = Binarising(binarise, levels)
    arrays = read_arrays(file)
    truth = in_file(arrays)
    engine = AutoregressiveEngine.load(bundle, backend=backend, device=device, threads=threads)
    x = model_events(file, pick(file, arrays, ("x",)), engine.data, binarising)
    result = engine.classify(x)
    checked = None if truth is None else calibration(result, truth)
    if out is not None:
        names = ("label", "log_posterior", "log_joint")
        write_arrays(out, {name: getattr(result, name) for name in names})
    classes = result.log_posterior.shape[1]
    if json:
        document: dict[str, Any] = {
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
    tail = "" if out is None else f" -> {out}"
    where = f"{engine.backend.name} on {engine.backend.device}"
    say(f"{len(result)} events, {classes} classes, {where}{tail}")


def _summary(checked: "Calibration") -> str:
    error = "" if checked.events == 1 else f" +- {checked.accuracy_error:.4f} (standard error)"
    return (
        f"accuracy {checked.accuracy:.4f}{error}, log loss {checked.log_loss:.4f} nats, "
        f"expected calibration error {checked.expected_error:.4f}"
    )


def _bins(checked: "Calibration") -> "Table":
    rows = [
        (
            f"{each.low:.1f} to {each.high:.1f}",
            f"{each.count:,}",
            f"{each.confidence:.3f}" if each.count else "-",
            f"{each.accuracy:.3f}" if each.count else "-",
        )
        for each in checked.bins
    ]
    return table(
        "Calibration, by the probability of the most probable class",
        ("p(y | x)", "events", "mean p(y | x)", "accuracy"),
        rows,
    )
