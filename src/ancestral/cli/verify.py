"""`ancestral verify`: check that a backend keeps the probabilities of a bundle."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli import options
from ancestral.cli.installed import backends_for
from ancestral.cli.output import check_target, json_text, put, say, show
from ancestral.cli.present.parity_table import parity_tables
from ancestral.cli.present.trace_table import say_first, trace_document, trace_tables
from ancestral.cli.trace import traces
from ancestral.errors import InvalidInput
from ancestral.parity import Report
from ancestral.parity_document import parity_document
from ancestral.progress import stages
from ancestral.threads import ThreadCount

if TYPE_CHECKING:
    from rich.table import Table

_trace = partial(typer.Option, rich_help_panel="Trace")


def verify(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    backend: options.Backends = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    json: options.Json = False,
    out: Annotated[
        Path | None,
        options.output_option(
            "-o", "--out", metavar="FILE.json", help="Also write the JSON document to a file."
        ),
    ] = None,
    trace: Annotated[
        bool,
        _trace(
            "--trace",
            help="Compare every tensor inside the graphs with PyTorch instead, and report the "
            "first node that differs. Backends: onnxruntime (default), onnx, torch.",
        ),
    ] = False,
    graph: Annotated[
        list[str] | None,
        _trace(metavar="NAME", help="Graph to trace; may be repeated. Default: all."),
    ] = None,
    save: Annotated[
        Path | None,
        _trace(
            metavar="FILE",
            help="Save all tensors to a .safetensors file, to compare them on another machine.",
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        _trace(
            metavar="FILE",
            help="Compare with a saved run, on the same inputs, instead of with PyTorch. If given "
            "twice, the two runs are compared and no backend is run.",
        ),
    ] = None,
) -> None:
    """Check that backends keep the bundle's log-probabilities.

    Compares each backend with answers that float64 PyTorch gave at export: log p of events in nats,
    next-value distributions, and the values drawn from the same uniforms; for a latent variable
    model E[x | z], the log-weights of latents, and the draws. A drawn value may differ only at a
    near tie, so "unexplained" must be 0. The exit code is 1 if a backend fails.
    """
    check_target(out, (".json",), keep=(bundle, *(against or ())))
    if trace:
        if dtype is not None:
            raise InvalidInput(
                f"--dtype: not used with --trace, which uses the types of the graphs, got "
                f"{dtype!r}; leave it out"
            )
        found = traces(bundle, backend or (), graph or (), save, against or (), device, threads)
        _print(trace_document(bundle, found), trace_tables(found), json, out)
        passed = say_first(found)
    else:
        if graph or save or against:
            raise InvalidInput("--graph, --save, --against: only used with --trace; add --trace")
        names = backend or backends_for(bundle, device)
        reports = parity_reports(bundle, names, device, threads, dtype)
        _print(parity_document(str(bundle), reports), parity_tables(reports), json, out)
        passed = report_failures(reports)
    if not passed:
        raise typer.Exit(1)


def parity_reports(
    bundle: Path,
    backends: Sequence[str],
    device: str = "cpu",
    threads: ThreadCount = None,
    dtype: str | None = None,
) -> list[Report]:
    """Verify a bundle on each backend."""
    reports: list[Report] = []
    with stages(f"verifying {bundle}") as at:
        for name in dict.fromkeys(backends):
            at(f"{name} on {device}")
            reports.append(options.load(bundle, name, device, threads, dtype).verify())
    return reports


def report_failures(reports: Sequence[Report]) -> bool:
    """Report each failure; return whether all backends passed."""
    for report in reports:
        for failure in report.failures:
            say(f"{report.backend} on {report.device} fails: {failure}")
    return all(report.passed for report in reports)


def _print(document: object, tables: "Iterable[Table]", json: bool, out: Path | None) -> None:
    """Print the document or the tables; write the document to `out` if it is given."""
    from ancestral.files.atomic import write_atomically

    text = json_text(document)
    if out is not None:
        write_atomically(out, text.encode() + b"\n")
    if json:
        put(text)
    else:
        show(*tables)
