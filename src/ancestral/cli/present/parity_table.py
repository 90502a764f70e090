"""A backend beside the reference, for people: one table for each kind of model."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ancestral.cli.output import table
from ancestral.latent_parity import LatentEventsParity, LatentParityReport
from ancestral.parity import EventsParity, ParityReport, Report, SequenceParity

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
        *_events("log p", "sampled events", [r.sampled for r in reports]),
        *_conditionals([r.sampled for r in reports]),
        *_events("log p", "events of noise", [r.noise for r in reports]),
        *_conditionals([r.noise for r in reports]),
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
    bits = "log p(x | z)" if codes else "bound (at most)"
    rows = [
        *_events(what, "sampled events", [r.sampled for r in reports], bits),
        *_terms([r.sampled for r in reports]),
        *_events(what, "events of noise", [r.noise for r in reports], bits),
        *_terms([r.noise for r in reports]),
        ("max |delta E[x | z]|, levels", [f"{r.max_abs_mean:.2e}" for r in reports]),
        ("  limit", [f"{r.limit_mean:.2e}" for r in reports]),
        *_draws(reports),
    ]
    each = "their codes" if codes else f"{reports[0].latents} latents of each"
    title = f"Parity with float64 PyTorch, {reports[0].events} events and {each}"
    return _table(title, reports, rows)


def _events(what: str, kind: str, parts: Sequence[EventsParity], bits: str = "") -> Rows:
    """Differences of log-probabilities of the events of one kind."""
    from ancestral.units import fixed

    bits = f", {bits}" if bits else ""
    return [
        (f"{parts[0].events} {kind}: max |delta {what}|, nats", _nats(parts, "max_abs_nats")),
        ("  limit", _nats(parts, "limit_nats")),
        ("  PyTorch fp32's own", _nats(parts, "own_nats")),
        (f"  mean |delta {what}|", _nats(parts, "mean_abs_nats")),
        (f"  mean delta {what}", [f"{part.mean_signed_nats:+.2e}" for part in parts]),
        (f"  bits/dim{bits}", [fixed(part.bits_per_dim, 4) for part in parts]),
    ]


def _conditionals(parts: Sequence[SequenceParity]) -> Rows:
    return [
        ("  max |delta log p| along the cached steps", _nats(parts, "max_abs_step_nats")),
        ("  max KL of a next value", _nats(parts, "max_kl")),
        ("  limit of KL", _nats(parts, "limit_kl")),
    ]


def _terms(parts: Sequence[LatentEventsParity]) -> Rows:
    return [("  max of any single term", _nats(parts, "max_abs_term_nats"))]


def _nats(parts: Sequence[EventsParity], name: str) -> list[str]:
    return [f"{getattr(part, name):.2e}" for part in parts]


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
