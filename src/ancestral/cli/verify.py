"""`ancestral verify`: the proof that a backend keeps the probabilities of the bundle."""

from collections.abc import Iterable, Sequence
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli import options
from ancestral.cli.installed import backends_for
from ancestral.cli.output import check_target, json_text, put, say, show, table
from ancestral.cli.trace import say_first, trace_document, trace_tables, traces
from ancestral.errors import InvalidInput
from ancestral.latent_parity import LatentParityReport
from ancestral.parity import ParityReport, Report
from ancestral.progress import stages

if TYPE_CHECKING:
    from rich.table import Table

_trace = partial(typer.Option, rich_help_panel="Find the first difference")
_NATS = ("max_abs_nats", "mean_abs_nats", "mean_signed_nats")
_WORST = {
    "autoregressive": (*_NATS, "max_kl", "argmax_flips", "near_ties", "unexplained"),
    "latent_variable": (*_NATS, "max_abs_term_nats", "max_abs_mean", "near_ties", "unexplained"),
}
"""What the JSON of several backends repeats at its top, the worst of them, by kind of model."""
Row = tuple[str, str, str]
"""What a row is called, the attribute of a report that it shows, and the form of the number."""

_CONDITIONALS = {
    "max |delta log p| along the cached steps": "max_abs_step_nats",
    "max KL of a next value": "max_kl",
    "limit of KL": "limit_kl",
}
_TERMS = {"max of any single term": "max_abs_term_nats"}


def verify(  # noqa: PLR0913 - the options of a command
    bundle: options.BundlePath,
    backend: options.Backends = None,
    device: options.Device = "cpu",
    threads: options.Threads = None,
    dtype: options.Dtype = None,
    json: options.Json = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.json", help="Write the JSON too.")
    ] = None,
    trace: Annotated[
        bool,
        _trace(
            "--trace",
            help="Compare every tensor inside the graphs with PyTorch's instead, and name the "
            "first node that differs. Backends: onnxruntime (default), onnx, torch.",
        ),
    ] = False,
    graph: Annotated[
        list[str] | None,
        _trace(metavar="NAME", help="A graph; may be repeated. Default: all."),
    ] = None,
    save: Annotated[
        Path | None,
        _trace(
            metavar="FILE.safetensors",
            help="Write all tensors, to compare them on another machine.",
        ),
    ] = None,
    against: Annotated[
        list[Path] | None,
        _trace(
            metavar="FILE.safetensors",
            help="A saved run to compare with instead of PyTorch, on the same inputs. Given twice, "
            "the two are compared and nothing is run.",
        ),
    ] = None,
) -> None:
    """Replay the bundle's float64 PyTorch answers on backends; exit 1 where one differs.

    Compared are log p of events in nats, next-value distributions, and the values that the same
    uniforms draw; of latent variable models the log-weights of latents, E[x | z], and the draws. A
    drawn value may differ only at a near tie; unexplained must be 0.
    """
    check_target(out, (".json",), keep=(bundle, *(against or ())))
    if trace:
        if dtype is not None:
            raise InvalidInput(f"--dtype: a trace has the types of the graphs, got {dtype!r}")
        found = traces(bundle, backend or (), graph or (), save, against or (), device, threads)
        _print(trace_document(bundle, found), trace_tables(found), json, out)
        passed = say_first(found)
    else:
        if graph or save or against:
            raise InvalidInput("--graph, --save and --against are options of --trace: add it")
        names = backend or backends_for(bundle, device)
        reports = parity_reports(bundle, names, device, threads, dtype)
        _print(parity_document(bundle, reports), parity_tables(reports), json, out)
        passed = report_failures(reports)
    if not passed:
        raise typer.Exit(1)


def parity_reports(
    bundle: Path,
    backends: Sequence[str],
    device: str = "cpu",
    threads: int | None = None,
    dtype: str | None = None,
) -> list[Report]:
    """Verify on each backend."""
    reports: list[Report] = []
    with stages(f"verifying {bundle}") as at:
        for name in dict.fromkeys(backends):
            at(f"{name} on {device}")
            reports.append(options.load(bundle, name, device, threads, dtype).verify())
    return reports


def parity_document(bundle: Path, reports: Sequence[Report]) -> dict[str, Any]:
    """One JSON document: whether all passed, the worst numbers, and each report."""
    latent = isinstance(reports[0], LatentParityReport)
    worst = {
        name: max((getattr(report, name) for report in reports), key=_badness)
        for name in _WORST["latent_variable" if latent else "autoregressive"]
    }
    return {
        "bundle": str(bundle),
        "passed": all(report.passed for report in reports),
        **worst,
        "backends": [report.to_json() for report in reports],
    }


def report_failures(reports: Sequence[Report]) -> bool:
    """Say what failed where; whether all passed."""
    for report in reports:
        for failure in report.failures:
            say(f"{report.backend} on {report.device} fails: {failure}")
    return all(report.passed for report in reports)


def parity_tables(reports: Sequence[Report]) -> list["Table"]:
    """A row for each quantity, a column for each backend; all reports are of one bundle.

    A second table is that of the prior over codes, where the bundle has one.
    """
    latent = [report for report in reports if isinstance(report, LatentParityReport)]
    if not latent:
        found = [report for report in reports if isinstance(report, ParityReport)]
        return [_autoregressive("Parity with float64 PyTorch", found)]
    priors = [report.prior for report in latent if report.prior is not None]
    rest = [_autoregressive("Its prior over codes", priors)] if priors else []
    return [_latent(latent), *rest]


def _autoregressive(title: str, reports: Sequence[ParityReport]) -> "Table":
    one = reports[0]
    part = "" if one.positions == one.length else f", the first {one.positions} of {one.length:,}"
    rows = [
        *_events(one, "log p", "", _CONDITIONALS),
        ("argmax flips", "argmax_flips", ""),
    ]
    return _table(f"{title}, {one.events} events{part}", reports, rows)


def _latent(reports: Sequence[LatentParityReport]) -> "Table":
    """Of codes log w is log p(x | z) alone, and has no other term."""
    one = reports[0]
    codes = one.prior is not None
    what, bits = ("log p(x | z)",) * 2 if codes else ("log w", "bound (at most)")
    rows = [
        *_events(one, what, f", {bits}", _TERMS),
        ("max |delta E[x | z]|, levels", "max_abs_mean", ".2e"),
        ("  limit", "limit_mean", ".2e"),
    ]
    each = "their codes" if codes else f"{one.latents} latents of each"
    title = f"Parity with float64 PyTorch, {one.events} events and {each}"
    return _table(title, reports, rows)


def _events(one: Report, what: str, bits: str, terms: dict[str, str]) -> list[Row]:
    """Differences of log-probabilities of the events of either kind."""
    rows: list[Row] = []
    for kind, name in (("sampled", "sampled events"), ("noise", "events of noise")):
        count = getattr(one, kind).events
        rows += [
            (f"{count} {name}: max |delta {what}|, nats", f"{kind}.max_abs_nats", ".2e"),
            ("  limit", f"{kind}.limit_nats", ".2e"),
            ("  PyTorch fp32's own", f"{kind}.own_nats", ".2e"),
            (f"  mean |delta {what}|", f"{kind}.mean_abs_nats", ".2e"),
            (f"  mean delta {what}", f"{kind}.mean_signed_nats", "+.2e"),
            (f"  bits/dim{bits}", f"{kind}.bits_per_dim", "z.4f"),
            *((f"  {term}", f"{kind}.{field}", ".2e") for term, field in terms.items()),
        ]
    return rows


def _table(title: str, reports: Sequence[Report], rows: Sequence[Row]) -> "Table":
    rows = [
        *rows,
        ("values drawn", "draws", ","),
        ("  near ties", "near_ties", ""),
        ("  unexplained", "unexplained", ""),
    ]
    cells = [
        (name, *(format(attrgetter(field)(report), form) for report in reports))
        for name, field, form in rows
    ]
    cells.append(("passed", *("yes" if report.passed else "NO" for report in reports)))
    heads = [""]
    for report in reports:
        dtype = "" if report.dtype == "float32" else f" {report.dtype}"
        heads.append(f"{report.backend} {report.device}{dtype}")
    return table(title, heads, cells)


def _print(document: object, tables: "Iterable[Table]", json: bool, out: Path | None) -> None:
    """The document or the tables on standard output; the document in a file too."""
    from ancestral.files.atomic import write_atomically

    text = json_text(document)
    if out is not None:
        write_atomically(out, text.encode() + b"\n")
    if json:
        put(text)
    else:
        show(*tables)


def _badness(value: int | float) -> float:
    return float(abs(value)) if value == value else float("inf")  # NaN is the worst
