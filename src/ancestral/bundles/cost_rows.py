"""The cost of a bundle as rows of text, for people: `info`, `compare` and the server show them."""

from ancestral.bundles.cost import CONFIDENCE, Cost
from ancestral.units import fixed

Row = tuple[str, str]
"""Name of a row, and its value with the unit."""


def cost_rows(cost: Cost) -> list[Row]:
    """Return the cost of a bundle as rows of a name and a value.

    Every row has its unit. A bound is called a bound in each row about it.

    Args:
        cost: what was measured.
    """
    what = "log p" if cost.quantity == "log_prob" else f"the bound (IWAE, k = {cost.k})"
    left_out = f", {cost.left_out:,} left out without log p" if cost.left_out else ""
    source = cost.source_backend or "a file of log-probabilities"
    return [
        ("data", f"{cost.data}, SHA-256 {_begins(cost.data_sha256)}"),
        ("compared", f"{cost.events:,} {cost.unit}, {cost.positions:,} positions{left_out}"),
        ("source", f"{source}, manifest SHA-256 {_begins(cost.source_sha256)}"),
        ("bundle on", cost.backend),
        (f"loss of {what}", f"{_plus_minus(cost)} nats/position"),
        (f"  mean + {CONFIDENCE:g} standard errors", f"{cost.upper_nats:+.3e} nats/position"),
        ("bits/dim, source -> bundle", _bits(cost)),
        *_distribution(cost),
        *_worst(cost),
    ]


def _plus_minus(cost: Cost) -> str:
    return f"{cost.loss_nats:+.3e} +- {cost.loss_error:.1e}"


def _bits(cost: Cost) -> str:
    bound = " (upper bounds)" if cost.quantity == "bound" else ""
    return f"{fixed(cost.source_bits_per_dim, 5)} -> {fixed(cost.bits_per_dim, 5)}{bound}"


def _distribution(cost: Cost) -> list[Row]:
    """Return the rows about p of the observed values and about next values, if there are any."""
    rows = []
    if cost.rms_delta_p is not None:
        rows.append(("RMS of delta p of the observed value", f"{cost.rms_delta_p:.3e}"))
    if cost.kl_mean is None or cost.same_top is None or cost.draws_differ is None:
        return rows
    kl = f"{cost.kl_mean:.2e}, {cost.kl_median:.2e}, {cost.kl_999:.2e} nats"
    return [
        ("KL(source || bundle): mean, median, 99.9%", kl),
        *rows,
        ("same most probable value", f"{cost.same_top:.4%} of positions"),
        ("other draw from the same uniform", f"{cost.draws_differ:.4%} of positions"),
    ]


def _worst(cost: Cost) -> list[Row]:
    """Return a row for each of the largest differences."""
    rows: list[Row] = []
    for each in cost.worst:
        position = "" if each.position is None else f", position {each.position}"
        place = f"{cost.unit[:-1]} {each.index}{position}"
        rows.append(("" if rows else "largest differences", f"{each.nats:+.3g} nats at {place}"))
    return rows


def _begins(sha256: str | None) -> str:
    return "unknown" if sha256 is None else sha256[:16]
