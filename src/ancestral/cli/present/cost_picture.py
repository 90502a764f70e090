"""The picture of `ancestral compare`: losses of events or windows, and KL by position."""

import io

from ancestral.bundles.cost import Cost
from ancestral.loss_measurement import Comparison

_BINS = 40


def cost_picture(found: Comparison, cost: Cost, title: str) -> bytes:
    """Return a PNG with a histogram of the losses of units, and the mean KL at each position.

    Without distributions of next values it has the histogram only.

    Args:
        found: the comparison.
        cost: its summary.
        title: title of the picture.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    kl = found.kl_by_position
    panels = 1 if kl is None else 2
    figure = Figure(figsize=(6, 3.2 * panels), dpi=120, layout="constrained")
    axes = figure.subplots(panels, squeeze=False)[:, 0]
    # As plain text: a dollar sign in a path is not mathematics.
    axes[0].set_title(title, parse_math=False)
    axes[0].hist(found.loss_by_unit, bins=_BINS, color="0.6")
    axes[0].axvline(0, color="black", linewidth=0.8)
    mean = f"mean {cost.loss_nats:+.2e} +- {cost.loss_error:.1e}"
    axes[0].axvline(cost.loss_nats, color="tab:red", label=mean)
    what = "log p" if cost.quantity == "log_prob" else "the bound"
    axes[0].set(xlabel=f"loss of {what}, nats/position; > 0: the bundle is worse", ylabel=cost.unit)
    axes[0].legend()
    if kl is not None:
        axes[1].plot(range(len(kl)), kl)
        axes[1].set(xlabel="position", ylabel="mean KL(source || bundle), nats", ylim=(0, None))
    for each in axes:
        each.grid(alpha=0.3)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", backend="agg")
    return picture.getvalue()
