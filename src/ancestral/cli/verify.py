"""`ancestral verify`: the proof that a backend keeps the probabilities of the bundle."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from ancestral.cli.installed import installed_backends
from ancestral.cli.options import Backends, BundlePath, Device, Dtype, Json, Threads
from ancestral.cli.output import check_target, json_text, say, show
from ancestral.cli.parity_table import parity_table, prior_tables
from ancestral.latent_parity import LatentParityReport
from ancestral.parity import Report

_NATS = ("max_abs_nats", "mean_abs_nats", "mean_signed_nats")
_WORST = {
    "autoregressive": (*_NATS, "max_kl", "argmax_flips", "near_ties", "unexplained"),
    "latent_variable": (*_NATS, "max_abs_term_nats", "max_abs_mean", "near_ties", "unexplained"),
}
"""What the JSON of several backends repeats at its top, the worst of them, by kind of model."""


def verify(
    bundle: BundlePath,
    backend: Backends = None,
    device: Device = "cpu",
    threads: Threads = None,
    dtype: Dtype = "float32",
    json: Json = False,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="FILE.json", help="Write the JSON too.")
    ] = None,
) -> None:
    """Replay the bundle's float64 PyTorch answers on backends; exit 1 where one differs.

    Compared are log p of events in nats, next-value distributions, and the values that the same
    uniforms draw; of latent variable models the log-weights of latents, E[x | z], and the draws. A
    drawn value may differ only at a near tie; unexplained must be 0.
    """
    from ancestral.files import write_atomically

    if out is not None:
        check_target(out, (".json",))
    names = backend or installed_backends(device)
    reports = parity_reports(bundle, names, device, threads, dtype)
    text = json_text(parity_document(bundle, reports))
    if out is not None:
        write_atomically(out, text.encode() + b"\n")
    if json:
        typer.echo(text)
    else:
        show(parity_table(reports), *prior_tables(reports))
    if not report_failures(reports):
        raise typer.Exit(1)


def parity_reports(
    bundle: Path,
    backends: Sequence[str],
    device: str = "cpu",
    threads: int | None = None,
    dtype: str = "float32",
) -> list[Report]:
    """Verify on each backend."""
    from ancestral.engine import Engine

    return [
        Engine.load(bundle, backend=name, device=device, threads=threads, dtype=dtype).verify()
        for name in dict.fromkeys(backends)
    ]


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


def _badness(value: int | float) -> float:
    return float(abs(value)) if value == value else float("inf")  # NaN is the worst
