"""`ancestral verify`: the proof that a backend keeps the probabilities of the bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ancestral.cli.installed import installed_backends
from ancestral.cli.options import Backends, BundlePath, Device, Json, Threads
from ancestral.cli.output import check_target, json_text, say, show, table

if TYPE_CHECKING:
    from rich.table import Table

    from ancestral.parity import ParityReport

_WORST = (
    "max_abs_nats",
    "mean_abs_nats",
    "mean_signed_nats",
    "max_kl",
    "argmax_flips",
    "near_ties",
    "unexplained",
)
"""What the JSON of several backends repeats at its top, the worst of them."""


def verify(
    bundle: BundlePath,
    backend: Backends = None,
    device: Device = "cpu",
    threads: Threads = None,
    json: Json = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.json", help="Write the JSON too.")
    ] = None,
) -> None:
    """Replay the bundle's float64 PyTorch answers on backends; exit 1 where one differs.

    Compared are log p of events in nats, next-value distributions, and the values that the same
    uniforms draw. A drawn value may differ only at a near tie; unexplained must be 0.
    """
    from ancestral.files import write_atomically

    if out is not None:
        check_target(out, (".json",))
    reports = parity_reports(bundle, backend or installed_backends(), device, threads)
    text = json_text(parity_document(bundle, reports))
    if out is not None:
        write_atomically(out, text.encode() + b"\n")
    if json:
        typer.echo(text)
    else:
        show(parity_table(reports))
    if not report_failures(reports):
        raise typer.Exit(1)


def parity_reports(
    bundle: Path, backends: Sequence[str], device: str = "cpu", threads: int | None = None
) -> list["ParityReport"]:
    """Verify on each backend."""
    from ancestral.engine import Engine

    return [
        Engine.load(bundle, backend=name, device=device, threads=threads).verify()
        for name in dict.fromkeys(backends)
    ]


def parity_document(bundle: Path, reports: Sequence["ParityReport"]) -> dict[str, Any]:
    """One JSON document: whether all passed, the worst numbers, and each report."""
    worst = {
        name: max((getattr(report, name) for report in reports), key=_badness) for name in _WORST
    }
    return {
        "bundle": str(bundle),
        "passed": all(report.passed for report in reports),
        **worst,
        "backends": [report.to_json() for report in reports],
    }


def report_failures(reports: Sequence["ParityReport"]) -> bool:
    """Say what failed where; whether all passed."""
    for report in reports:
        for failure in report.failures:
            say(f"{report.backend} on {report.device} fails: {failure}")
    return all(report.passed for report in reports)


def parity_table(reports: Sequence["ParityReport"]) -> "Table":
    """A row for each quantity, a column for each backend."""
    rows = [
        ("max |delta log p|, nats", [f"{r.max_abs_nats:.2e}" for r in reports]),
        ("  along the cached steps", [f"{r.max_abs_step_nats:.2e}" for r in reports]),
        ("  limit", [f"{r.limit_nats:.2e}" for r in reports]),
        ("  PyTorch fp32's own", [f"{r.own_nats:.2e}" for r in reports]),
        ("mean |delta log p|, nats", [f"{r.mean_abs_nats:.2e}" for r in reports]),
        ("mean delta log p, nats", [f"{r.mean_signed_nats:+.2e}" for r in reports]),
        ("bits/dim of the events", [f"{r.bits_per_dim:.4f}" for r in reports]),
        ("max KL, nats", [f"{r.max_kl:.2e}" for r in reports]),
        ("  limit of KL", [f"{r.limit_kl:.2e}" for r in reports]),
        ("argmax flips", [f"{r.argmax_flips}" for r in reports]),
        ("values drawn", [f"{r.draws:,}" for r in reports]),
        ("  near ties", [f"{r.near_ties}" for r in reports]),
        ("  unexplained", [f"{r.unexplained}" for r in reports]),
        ("passed", ["yes" if r.passed else "NO" for r in reports]),
    ]
    return table(
        f"Parity with float64 PyTorch, {reports[0].events} events",
        ("", *(f"{report.backend} {report.device}" for report in reports)),
        [(name, *values) for name, values in rows],
    )


def _badness(value: int | float) -> float:
    return float(abs(value)) if value == value else float("inf")  # NaN is the worst
