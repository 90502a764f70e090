"""Known answers of draws at temperatures and with filters, in float64, and how near a tie they are.

Event i is drawn with its own settings: all settings occur among the samples and among the noise.
"""

import math

import torch
from torch import Tensor

from ancestral.export.float32_error import margin
from ancestral.sampling import SETTINGS, Sampling

DRAWN = ("cooled", "filtered")
"""Values that u draws at the temperature only, and with the filters too."""
MARGINS = ("cooled_margin", "filtered_margin", "filtered_gap")
"""Distances from a tie, in probability and, for the gap, in nats."""
_MOST = 40
"""Largest top-k of the settings."""


def samplings(levels: int) -> tuple[Sampling, ...]:
    """Return the settings, which events take in turn."""
    k = max(1, min(_MOST, levels // 2))
    return (
        Sampling(0.8, top_p=0.95),
        Sampling(0.7, top_k=k),
        Sampling(1.3, min_p=0.1),
        Sampling(1.0, 2 * k, 0.9, 0.02),
    )


def settings(events: int, levels: int) -> dict[str, Tensor]:
    """Return the settings of each event, [n], as a step graph takes them."""
    every = samplings(levels)
    rows = [every[i % len(every)].settings(levels) for i in range(events)]
    return {
        name: torch.tensor([row[name] for row in rows], dtype=getattr(torch, dtype))
        for name, dtype in SETTINGS.items()
    }


def filter_answers(log_p: Tensor, u: Tensor, sampling: Sampling) -> dict[str, Tensor]:
    """Return the draws at some positions and their distances from a tie.

    Margins are scaled to probabilities of the model: an error there is 1 / temperature times as
    large after a temperature below 1, and 1 / mass as large after a filter that keeps this mass.

    Args:
        log_p: log-probabilities in float64, [t, v].
        u: uniforms, [t].
        sampling: temperature above 0, and filters.

    Returns:
        `DRAWN` and `MARGINS`, each [t]. A filter keeps the same set unless the model's
        probabilities have an error of filtered_margin, or its logits of filtered_gap nats.
    """
    z = (log_p / sampling.temperature).log_softmax(dim=-1)
    scale = min(1.0, sampling.temperature)
    ordered = z.sort(dim=-1, descending=True).values
    threshold, near, gap = _threshold(ordered, sampling)
    w = torch.where(z >= threshold, z.exp(), 0)
    mass = w.sum(dim=-1)
    cooled, cooled_margin = _drawn(z.exp(), u)
    filtered, filtered_margin = _drawn(w, u)
    return {
        "cooled": cooled,
        "cooled_margin": scale * cooled_margin,
        "filtered": filtered,
        "filtered_margin": scale * torch.minimum(mass * filtered_margin, near),
        "filtered_gap": sampling.temperature * gap,
    }


def _drawn(w: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the values that u draws from weights, and its distance to the nearer edge."""
    edges = w.cumsum(dim=-1)
    edges = edges / edges[..., -1:]
    drawn = (edges < u.double()[..., None]).sum(dim=-1)
    return drawn, margin(edges, u, drawn)


def _threshold(ordered: Tensor, sampling: Sampling) -> tuple[Tensor, Tensor, Tensor]:
    """Return the threshold [t, 1] over sorted log-probabilities, and the distances from a tie.

    The first is that of a mass from P, in probability, [t]. The second is that of a value from the
    last one that stays, or from the edge of min-p, in nats, [t].
    """
    threshold = torch.full_like(ordered[:, :1], -math.inf)
    near = torch.full_like(ordered[:, 0], math.inf)
    gap = near.clone()
    if sampling.top_k is not None and sampling.top_k < ordered.shape[-1]:
        last = torch.full_like(ordered[:, :1], sampling.top_k - 1, dtype=torch.int64)
        threshold, gap = ordered.gather(-1, last), _gap(ordered, last)
    if sampling.top_p < 1:
        w = torch.where(ordered >= threshold, ordered.exp(), 0)
        sums = w.cumsum(dim=-1)
        whole = sums[:, -1:].clone()
        before = torch.nn.functional.pad(sums[:, :-1], (1, 0))
        last = (before < sampling.top_p * whole).sum(dim=-1, keepdim=True) - 1
        apart = (before - sampling.top_p * whole).abs()
        near, gap = apart.amin(dim=-1), torch.minimum(gap, _gap(ordered, last))
        threshold = torch.maximum(threshold, ordered.gather(-1, last))
    if sampling.min_p > 0:
        edge = ordered[:, :1] + math.log(sampling.min_p)
        gap = torch.minimum(gap, (ordered - edge).abs().amin(dim=-1))
        threshold = torch.maximum(threshold, edge)
    return threshold, near, gap


def _gap(ordered: Tensor, last: Tensor) -> Tensor:
    """Return the distance of a sorted value, at index `last` [t, 1], from the nearest other."""
    apart = (ordered - ordered.gather(-1, last)).abs()
    return apart.scatter(-1, last, math.inf).amin(dim=-1)
