"""The end of a sampling step that also adjusts the logits, and keeps the most probable values.

Bias and penalties (`adjustments`) change the distribution that is drawn from, and log q; log p
stays that of the model. At each position, drawn or observed, the k most probable values under the
model are kept with their log p, and the k most probable ones of the distribution drawn from with
their log q, -inf where a filter drops them. Only they are kept, never a whole distribution.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.overridable import overridable
from ancestral.triton_kernels.sample_token import Drawn, record, taken
from ancestral.triton_kernels.sample_token.adjustments import Adjusted, adjusted
from ancestral.triton_kernels.sample_token.filters import Filters, cooled, kept, most
from ancestral.triton_kernels.sample_token.inverse_cdf import inverse_cdf, unnormalised
from ancestral.triton_kernels.top_ids import top_ids


class TopValues(NamedTuple):
    """The most probable values of each position so far.

    Attributes:
        ids: most probable values under the model.
        log_p: their log-probabilities under the model, in nats.
        filtered_ids: most probable values of the distribution drawn from.
        log_q: their log-probabilities under it, in nats.
    """

    ids: Int64[Tensor, "b T k"]
    log_p: Float[Tensor, "b T k"]
    filtered_ids: Int64[Tensor, "b T k"]
    log_q: Float[Tensor, "b T k"]


@overridable
def sample_adjusted(
    logits: Float[Tensor, "b s v"],
    at: Int64[Tensor, "b s"],
    u: Float[Tensor, "b T"],
    observed: Int64[Tensor, "b T"],
    state: tuple[Drawn, TopValues],
    settings: Adjusted,
    repeats: bool,
) -> tuple[Drawn, TopValues]:
    """Draw or take the values of a block of positions, and record them and the alternatives.

    Args:
        logits: logits of each position of the block.
        at: positions of the block, as in `sample_token`.
        u: uniforms in (0, 1), one per position.
        observed: values to take instead of drawing, -1 where free.
        state: what was drawn so far, and the alternatives so far.
        settings: changes of the logits, and filters.
        repeats: as in `sample_token`.

    Returns:
        the state after the block.
    """
    drawn, rows = state
    uniform, forced = u.gather(1, at), observed.gather(1, at)
    model = _normalised(logits)
    wide = adjusted(logits, at, drawn.values, observed, settings.adjustments)
    cut = _filtered(wide, settings.filters)
    new, mass = inverse_cdf(cut.w, uniform, most(cut.warm))
    best = _best(model, cut, new, mass, rows.ids.shape[-1])
    return (
        record(drawn, at, taken(model, (cut.z, mass), new, forced), repeats),
        noted(rows, drawn, at, best, repeats),
    )


def noted(
    rows: TopValues,
    drawn: Drawn,
    at: Int64[Tensor, "b s"],
    new: TopValues,
    repeats: bool,
) -> TopValues:
    """Return the alternatives with those of a block of positions written.

    Args:
        rows: the alternatives so far.
        drawn: the state before the block, with the position of each row.
        at: positions of the block.
        new: alternatives at these positions, [b, s, k] each.
        repeats: as in `sample_token`.
    """
    ended = (drawn.position >= drawn.values.shape[1])[:, None, None]

    def written(old: Tensor, block: Tensor) -> Tensor:
        block = block.to(old.dtype)
        if not repeats:
            there = at[..., None].expand(block.shape)
            block = torch.where(ended, old.gather(1, there), block)
        return append(old, at[:, 0], block)

    return TopValues(*(written(*pair) for pair in zip(rows, new, strict=True)))


class _Normalised(NamedTuple):
    """Logits minus their maximum, and the sum of their exponentials."""

    shifted: Float[Tensor, "b s v"]
    total: Float[Tensor, "b s"]


class _Cut(NamedTuple):
    """The distribution drawn from.

    Attributes:
        z: adjusted logits minus their maximum, divided by the temperature.
        stays: which values the filters keep.
        w: exp z of these values, 0 of the others.
        warm: which rows have a temperature above 0; the others take the first maximum.
    """

    z: Float[Tensor, "b s v"]
    stays: Bool[Tensor, "b s v"]
    w: Float[Tensor, "b s v"]
    warm: Bool[Tensor, "b 1"]


def alternatives_of(
    logits: Float[Tensor, "b s v"], wide: Float[Tensor, "b s v"], filters: Filters, k: int
) -> TopValues:
    """Return the k most probable values of each position, [b, s, k].

    Args:
        logits: logits of the model.
        wide: adjusted logits, at least in float32.
        filters: filters of the draw.
        k: number of values.
    """
    cut = _filtered(wide, filters)
    # Any uniform will do: it draws the first maximum at temperature 0, and is not used above.
    new, mass = inverse_cdf(cut.w, torch.full_like(cut.w[..., 0], 0.5), most(cut.warm))
    return _best(_normalised(logits), cut, new, mass, k)


def _normalised(logits: Tensor) -> _Normalised:
    shifted, w = unnormalised(logits)
    return _Normalised(shifted, w.sum(dim=-1))


def _filtered(wide: Tensor, filters: Filters) -> _Cut:
    """Return the distribution that adjusted logits draw from."""
    z, warm = cooled(unnormalised(wide)[0], filters.temperature)
    w = z.exp()
    stays = kept(z, w, filters)
    return _Cut(z, stays, w * stays, warm)


def _best(model: _Normalised, cut: _Cut, drawn: Tensor, mass: Tensor, k: int) -> TopValues:
    """Return the k most probable values of the model, and of the distribution drawn from.

    At temperature 0 the latter has only `drawn`, the first maximum.
    """
    ids = top_ids(model.shifted, k)
    log_p = model.shifted.gather(-1, ids) - model.total.log()[..., None]
    levels = torch.arange(cut.z.shape[-1], device=cut.z.device)
    stays = cut.stays & (cut.warm[..., None] | (levels == drawn[..., None]))
    left = torch.where(stays, cut.z, -torch.inf)
    filtered_ids = top_ids(left, k)
    log_q = left.gather(-1, filtered_ids) - mass.log()[..., None]
    return TopValues(ids, log_p, filtered_ids, log_q)
