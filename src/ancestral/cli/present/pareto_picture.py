"""The picture of a search for a plan within a budget: loss by bytes."""

import io

from ancestral.bundles.cost import CONFIDENCE
from ancestral.precision.budget import Within

_MARKS = {"calibration": "o", "held-out": "s"}


def pareto_picture(found: Within, title: str) -> bytes:
    """Return a PNG of the plans: bytes of the weights, and nats with 2 standard errors.

    Losses up to the budget are on a linear scale, larger ones on a logarithmic one.

    Args:
        found: the plans.
        title: title of the picture.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), dpi=120, layout="constrained")
    axes = figure.subplots()
    # As plain text: a dollar sign in a path is not mathematics.
    axes.set_title(title, parse_math=False)
    for point in found.points:
        axes.errorbar(
            point.size / 1e6,
            point.nats,
            yerr=CONFIDENCE * point.error,
            fmt=_MARKS[point.measured_on],
            color="tab:red" if point.chosen else "0.5",
            label="chosen, held-out data" if point.chosen else None,
            capsize=3,
        )
    axes.axhline(found.budget, color="black", linewidth=0.8, label=f"budget {found.budget:.3g}")
    axes.set_yscale("symlog", linthresh=found.budget)
    axes.set(xlabel="weights, MB", ylabel=f"loss, nats/position +- {CONFIDENCE:g} standard errors")
    axes.grid(alpha=0.3)
    axes.legend()
    picture = io.BytesIO()
    figure.savefig(picture, format="png", backend="agg")
    return picture.getvalue()
