"""What a search for a plan within a budget found: a table, or one JSON document."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancestral.cli.output import table
from ancestral.precision.budget import Within

if TYPE_CHECKING:
    from rich.table import Table

_HEADS = ("weights", "MB", "loss, nats/position", "measured on", "ms")


def pareto_table(found: Within) -> "Table":
    """Return a table with a row per plan, the largest first.

    Milliseconds are of a step at batch 1, or of decoding a latent; a dash is a plan that was not
    exported.
    """
    unit = found.cost.unit
    title = (
        f"Budget {found.budget:.3g} nats/position; chosen by {found.calibrated:,} {unit}, measured "
        f"on {found.cost.events:,} others"
    )
    rows = [
        (
            point.name,
            f"{point.size / 1e6:.3f}",
            f"{point.nats:+.2e} +- {point.error:.1e}",
            point.measured_on,
            "-" if point.ms is None else f"{point.ms:.3g}",
        )
        for point in found.points
    ]
    return table(title, _HEADS, rows)


def pareto_document(source: Path, found: Within) -> dict[str, Any]:
    """Return one JSON document: the budget, what was chosen and its cost, and all points."""
    return {
        "source": str(source),
        "bundle": str(found.path),
        "budget_nats": found.budget,
        "upper_nats": found.cost.upper_nats,
        "calibration_units": found.calibrated,
        "quantisation": found.plan.model_dump(mode="json"),
        "cost": found.cost.model_dump(mode="json"),
        "points": [point.to_json() for point in found.points],
    }
