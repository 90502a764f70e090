"""What `ancestral compare` prints: the cost as a table, or as JSON with the losses of each unit."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ancestral.bundles.cost import Cost
from ancestral.bundles.cost_rows import cost_rows
from ancestral.cli.output import table
from ancestral.loss_measurement import Comparison

if TYPE_CHECKING:
    from rich.table import Table


def cost_table(bundle: Path, source: Path, cost: Cost) -> "Table":
    """Return a table with a row per quantity; a positive loss means that the bundle is worse."""
    title = f"Loss of {bundle} compared with {source}; positive: the bundle is worse"
    return table(title, ("", "value"), cost_rows(cost))


def cost_document(bundle: Path, source: Path, found: Comparison, cost: Cost) -> dict[str, Any]:
    """Return one JSON document: the cost, and the loss of each event or window."""
    by_position = found.kl_by_position
    return {
        "bundle": str(bundle),
        "source": str(source),
        **cost.model_dump(mode="json"),
        "upper_nats": cost.upper_nats,
        "loss_by_unit": found.loss_by_unit.tolist(),
        "positions_by_unit": found.positions.tolist(),
        "kl_by_position": None if by_position is None else by_position.tolist(),
    }
