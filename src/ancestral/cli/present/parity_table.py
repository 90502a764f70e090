"""Parity reports as tables."""

from collections.abc import Sequence
from operator import attrgetter
from typing import TYPE_CHECKING

from ancestral.cli.output import table
from ancestral.latent_parity import LatentParityReport
from ancestral.parity import ParityReport, Report

if TYPE_CHECKING:
    from rich.table import Table

Row = tuple[str, str, str]
"""Name of a row, the attribute of a report that it shows, and the format of the number."""

_CONDITIONALS = {
    "max |delta log p| along the cached steps": "max_abs_step_nats",
    "max |delta log p| in blocks of proposals": "max_abs_speculated_nats",
    "max |delta log p| of the most probable": "max_abs_top_nats",
    "max KL of a next value": "max_kl",
    "limit of KL": "limit_kl",
}
_FILTERED: tuple[Row, ...] = (
    ("of them at temperatures, with filters", "filtered_draws", ","),
    ("  near ties", "filtered_near_ties", ""),
    ("  unexplained", "filtered_unexplained", ""),
)
_TERMS = {"max of any single term": "max_abs_term_nats"}


def parity_tables(reports: Sequence[Report]) -> list["Table"]:
    """Return tables with a row per quantity and a column per backend; reports are of one bundle.

    If the bundle has a prior over codes, a second table is about the prior.
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
    return _table(f"{title}, {one.events} events{part}", reports, rows, _FILTERED)


def _latent(reports: Sequence[LatentParityReport]) -> "Table":
    """Return the table of a latent model; with codes, log w is log p(x | z) and has no terms."""
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
    """Return the rows of differences in log-probability, for sampled events and for noise."""
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


def _table(
    title: str, reports: Sequence[Report], rows: Sequence[Row], more: Sequence[Row] = ()
) -> "Table":
    rows = [
        *rows,
        ("values drawn", "draws", ","),
        ("  near ties", "near_ties", ""),
        ("  unexplained", "unexplained", ""),
        *more,
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
