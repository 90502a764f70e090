"""The JSON document of a verification: what all backends have in common, and each report."""

from collections.abc import Sequence
from typing import Any

from ancestral.latent_parity import LatentParityReport
from ancestral.parity import Report

_NATS = ("max_abs_nats", "mean_abs_nats", "mean_signed_nats")
_WORST = {
    "autoregressive": (*_NATS, "max_kl", "argmax_flips", "near_ties", "unexplained"),
    "latent_variable": (*_NATS, "max_abs_term_nats", "max_abs_mean", "near_ties", "unexplained"),
}
"""Fields whose worst value over the backends is at the top of the document, by kind of model."""


def parity_document(bundle: str, reports: Sequence[Report]) -> dict[str, Any]:
    """Return one document of plain values: whether all passed, the worst values, and each report.

    Args:
        bundle: name of the bundle.
        reports: reports of its backends, at least one.
    """
    latent = isinstance(reports[0], LatentParityReport)
    worst = {
        name: max((getattr(report, name) for report in reports), key=_badness)
        for name in _WORST["latent_variable" if latent else "autoregressive"]
    }
    return {
        "bundle": bundle,
        "passed": all(report.passed for report in reports),
        **worst,
        "backends": [report.to_json() for report in reports],
    }


def _badness(value: int | float) -> float:
    return float(abs(value)) if value == value else float("inf")  # NaN is the worst
