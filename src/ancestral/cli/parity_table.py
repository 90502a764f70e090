"""A backend beside the reference, for people: one table for each kind of model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.output import table
from ancestral.latent_parity import LatentParityReport
from ancestral.parity import ParityReport, Report

if TYPE_CHECKING:
    from rich.table import Table

Rows = list[tuple[str, list[str]]]


def parity_table(reports: Sequence[Report]) -> "Table":
    """A row for each quantity, a column for each backend; all reports are of one bundle."""
    latent = [report for report in reports if isinstance(report, LatentParityReport)]
    if latent:
        return _latent(latent)
    return _autoregressive([report for report in reports if isinstance(report, ParityReport)])


def prior_tables(reports: Sequence[Report]) -> list["Table"]:
    """The same of the prior over codes, where the bundle has one: a table or none."""
    latent = [report for report in reports if isinstance(report, LatentParityReport)]
    priors = [report.prior for report in latent if report.prior is not None]
    return [_autoregressive(priors, "Its prior over codes")] if priors else []


def _autoregressive(
    reports: Sequence[ParityReport], title: str = "Parity with float64 PyTorch"
) -> "Table":
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
        *_draws(reports),
    ]
    one = reports[0]
    part = "" if one.positions == one.length else f", the first {one.positions} of {one.length:,}"
    return _table(f"{title}, {one.events} events{part}", reports, rows)


def _latent(reports: Sequence[LatentParityReport]) -> "Table":
    """Of codes log w is log p(x | z) alone, and has no other term."""
    codes = reports[0].prior is not None
    what = "log p(x | z)" if codes else "log w"
    bits = "bits/dim, log p(x | z) of samples" if codes else "bits/dim, bound of samples (at most)"
    rows = [
        (f"max |delta {what}|, nats", [f"{r.max_abs_nats:.2e}" for r in reports]),
        ("  of any single term", [f"{r.max_abs_term_nats:.2e}" for r in reports]),
        ("  limit", [f"{r.limit_nats:.2e}" for r in reports]),
        ("  PyTorch fp32's own", [f"{r.own_nats:.2e}" for r in reports]),
        (f"mean |delta {what}|, nats", [f"{r.mean_abs_nats:.2e}" for r in reports]),
        (f"mean delta {what}, nats", [f"{r.mean_signed_nats:+.2e}" for r in reports]),
        (bits, [f"{r.bits_per_dim:.4f}" for r in reports]),
        ("max |delta E[x | z]|, levels", [f"{r.max_abs_mean:.2e}" for r in reports]),
        ("  limit", [f"{r.limit_mean:.2e}" for r in reports]),
        *_draws(reports),
    ]
    each = "their codes" if codes else f"{reports[0].latents} latents of each"
    title = f"Parity with float64 PyTorch, {reports[0].events} events and {each}"
    return _table(title, reports, rows)


def _draws(reports: Sequence[ParityReport] | Sequence[LatentParityReport]) -> Rows:
    return [
        ("values drawn", [f"{r.draws:,}" for r in reports]),
        ("  near ties", [f"{r.near_ties}" for r in reports]),
        ("  unexplained", [f"{r.unexplained}" for r in reports]),
        ("passed", ["yes" if r.passed else "NO" for r in reports]),
    ]


def _table(title: str, reports: Sequence[Report], rows: Rows) -> "Table":
    heads = ["", *(f"{report.backend} {report.device}" for report in reports)]
    for i, report in enumerate(reports, start=1):
        heads[i] += "" if report.dtype == "float32" else f" {report.dtype}"
    return table(title, heads, [(name, *values) for name, values in rows])
