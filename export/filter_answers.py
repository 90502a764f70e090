"""Known answers of draws at temperatures and with filters, in float64, and how near a tie they are.

Each event has its own settings, so that rows with different settings are in one batch.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ancestral.export.float32_error import margin
from ancestral.sampling import SETTINGS, Sampling

DRAWN = ("tempered", "filtered")
"""Values that u draws at the temperature only, and with the filters too."""
MARGINS = tuple(f"{name}_{kind}" for name in DRAWN for kind in ("margin", "gap"))
"""Distances of these draws from a tie: a margin in probability, and a gap in nats."""
ERRORS = ("filtered_error", "gap_error")
"""PyTorch float32's own error in these margins and gaps."""
_MOST = 40
"""Largest top-k of a row whose only filter it is."""
_NEGLIGIBLE = -100.0
"""Nats below the maximum from which on a value has no weight in float32."""


def samplings(levels: int) -> tuple[Sampling, ...]:
    """Return the settings, which events take in turn."""
    k = max(1, min(_MOST, levels // 2))
    return (
        Sampling(0.8, top_p=0.95),
        Sampling(0.7, top_k=k),
        Sampling(1.3, min_p=0.1),
        Sampling(1.0, 2 * k, 0.9, 0.02),
        Sampling(0.0),
    )


def settings(events: int, levels: int) -> dict[str, Tensor]:
    """Return the settings of each event, [n], as a step graph takes them."""
    every = samplings(levels)
    rows = [every[i % len(every)].settings(levels) for i in range(events)]
    return {
        name: torch.tensor([row[name] for row in rows], dtype=getattr(torch, dtype))
        for name, dtype in SETTINGS.items()
    }


def filter_answers(
    exact: Tensor, near: Tensor, u: Tensor, chosen: Mapping[str, float]
) -> dict[str, Tensor]:
    """Return the draws at some positions, their distances from a tie, and float32's errors.

    A backend may draw another value only if u, or the mass of the values before one, is as near to
    an edge as the error of a cumulative probability (margin), or if a value is as near to the
    threshold of a filter as the error of a logit (gap).

    Args:
        exact: log-probabilities in float64, [t, v].
        near: logits in float32, [t, v].
        u: uniforms, [t].
        chosen: value of each of `SETTINGS`, rounded to its dtype.

    Returns:
        `DRAWN`, `MARGINS` and `ERRORS`, each [t]. Margins are in probability, gaps in nats after
        the temperature. A distance is infinite if the draw has no edge of its kind: a margin at
        temperature 0, for example, or a gap where no value is dropped.
    """
    far = torch.full_like(u, math.inf, dtype=torch.float64)
    if chosen["temperature"] == 0:
        drawn, (gap, error) = exact.argmax(dim=-1), _gap(*_sorted(exact, near, 1), 1)
        found = {name: value for kind in DRAWN for name, value in _named(kind, drawn, far, gap)}
        return found | {"filtered_error": torch.zeros_like(far), "gap_error": error}
    z, z32 = (
        (each - each.amax(-1, keepdim=True)) / chosen["temperature"] for each in (exact, near)
    )
    w, w32 = z.exp(), z32.exp()
    tempered, edge, error = _drawn(w, w32, u)
    threshold, tie, errors = _threshold(z, z32, chosen)
    kept = z >= threshold
    filtered, filtered_edge, filtered_error = _drawn(w * kept, w32 * kept, u)
    error = torch.stack((error, filtered_error, errors["filtered_error"])).amax(0)
    return {
        **dict(_named("tempered", tempered, edge, far)),
        **dict(_named("filtered", filtered, filtered_edge.minimum(tie["margin"]), tie["gap"])),
        "filtered_error": error,
        "gap_error": errors["gap_error"],
    }


def _named(name: str, drawn: Tensor, edge: Tensor, gap: Tensor) -> list[tuple[str, Tensor]]:
    return [(name, drawn), (f"{name}_margin", edge), (f"{name}_gap", gap)]


def _drawn(w: Tensor, w32: Tensor, u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the values that u draws from weights, its distance to an edge, and float32's error."""
    edges, edges32 = w.cumsum(dim=-1), w32.cumsum(dim=-1)
    edges /= edges[..., -1:].clone()
    error = (edges32 / edges32[..., -1:] - edges).abs().amax(dim=-1)
    drawn = (edges < u.double()[..., None]).sum(dim=-1)
    return drawn, margin(edges, u, drawn), error


def _threshold(
    z: Tensor, z32: Tensor, chosen: Mapping[str, float]
) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
    """Return the lowest logit that stays, [t, 1], its distances from a tie, and float32's errors.

    Args:
        z: logits minus their maximum, after the temperature, in float64, [t, v].
        z32: the same in float32.
        chosen: as in `filter_answers`.
    """
    k, p, m = int(chosen["top_k"]), chosen["top_p"], chosen["min_p"]
    threshold = torch.full_like(z[:, :1], -math.inf)
    near, error = torch.full_like(z[:, 0], math.inf), torch.zeros_like(z[:, 0])
    gaps = [(near, error)]
    if k < z.shape[-1] or p < 1:
        ordered, ordered32 = _sorted(z, z32, k)
        if k < z.shape[-1]:
            threshold = ordered[:, k - 1 : k]
            gaps.append(_gap(ordered, ordered32, k))
        if p < 1:
            stay = z >= threshold
            before, before32 = (
                _before(first, (every.exp() * stay).sum(dim=-1, keepdim=True))
                for first, every in ((ordered, z), (ordered32, z32))
            )
            kept = (before < p).sum(dim=-1, keepdim=True)
            near, error = (before - p).abs().amin(dim=-1), (before32 - before).abs().amax(dim=-1)
            gaps.append(_gap(ordered, ordered32, kept))
            threshold = threshold.maximum(ordered.gather(-1, kept - 1))
    if m > 0:
        edge = math.log(m)
        gap, at = (z - edge).abs().min(dim=-1, keepdim=True)
        gaps.append((gap[:, 0], (z32.gather(-1, at) - z.gather(-1, at)).abs()[:, 0]))
        threshold = threshold.clamp_min(edge)
    gap, gap_error = (torch.stack(each) for each in zip(*gaps, strict=True))
    tie = {"margin": near, "gap": gap.amin(dim=0)}
    return threshold, tie, {"filtered_error": error, "gap_error": gap_error.amax(dim=0)}


def _sorted(z: Tensor, z32: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Return the highest logits minus their maximum, and float32's in the same order, [t, n].

    They are sorted; n is `kept` and the next one, if there is one.
    """
    ordered, order = z.topk(min(kept + 1, z.shape[-1]))
    ordered32 = z32.gather(-1, order)
    return ordered - ordered[:, :1], ordered32 - z32.amax(dim=-1, keepdim=True)


def _before(ordered: Tensor, total: Tensor) -> Tensor:
    """Return the mass of the values before each sorted one, as a fraction of the total, [t, n]."""
    sums = ordered.exp().cumsum(dim=-1)
    return torch.nn.functional.pad(sums[:, :-1], (1, 0)) / total


def _gap(ordered: Tensor, ordered32: Tensor, kept: Tensor | int) -> tuple[Tensor, Tensor]:
    """Return by how much the first `kept` values are above the next one, and float32's error.

    Args:
        ordered: sorted logits, the highest is 0, in float64, [t, n].
        ordered32: float32's logits in the same order.
        kept: number of values before the gap, 1 .. n, one for all or [t, 1].

    Returns:
        Distances in nats and errors in nats, [t]; an infinite distance if no other value has a
        weight.
    """
    last = torch.as_tensor(kept, device=ordered.device).expand(len(ordered), 1) - 1
    both = torch.cat((last, (last + 1).clamp_max(ordered.shape[-1] - 1)), dim=-1)
    high, low = ordered.gather(-1, both).unbind(-1)
    exists = (low > _NEGLIGIBLE) & (last[:, 0] + 1 < ordered.shape[-1])
    error = (ordered32.gather(-1, both) - ordered.gather(-1, both)).abs().amax(dim=-1)
    return torch.where(exists, high - low, math.inf), torch.where(exists, error, 0.0)
