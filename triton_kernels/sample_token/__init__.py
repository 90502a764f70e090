"""The end of a sampling step: from the logits of a position to its value and their log-probability.

With l the logits of row r at its position n, and u the uniform of that position,

    z = l - max l           log p(i) = z_i - log sum exp z
    z' = the filtered z     log q(i) = z'_i - log sum exp z',    or z' = z without filters
    value = observed[r, n], where it is >= 0;  else the first i with C_i >= u C_last,
            C the cumulative sum of exp z'

and value, log p, log q (0 where observed) are written at n; the row's position is then n + 1. A row
at position T has ended: nothing of it changes.

References:
    Devroye (1986), Non-uniform random variate generation, section III.2 (inversion).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.mass_threshold import LOWEST, mass_threshold
from ancestral.triton_kernels.overridable import overridable


class Filters(NamedTuple):
    """One row of settings for each row of the batch."""

    temperature: Float[Tensor, " b"]
    top_k: Int64[Tensor, " b"]
    top_p: Float[Tensor, " b"]
    min_p: Float[Tensor, " b"]


def filtered(shifted: Float[Tensor, "b s v"], filters: Filters) -> Float[Tensor, "b s v"]:
    """Shifted logits z of the filtered distribution, -inf where a value is dropped.

    Every filter keeps an upper set of the logits, z_i >= threshold, so a threshold is all that it
    finds, by bisection: no sort, the same few operations in PyTorch and ONNX, and values of equal
    probability stay together. Temperature, top-k, top-p and min-p are each applied to the
    renormalised result of the one before.

    Args:
        shifted: logits less their maximum.
        filters: temperature 0 leaves the first value of highest probability alone.

    References:
        Fan et al. (2018), arXiv:1805.04833 (top-k); Holtzman et al. (2019), arXiv:1904.09751
        (top-p); Nguyen et al. (2024), arXiv:2407.01082 (min-p).
    """
    z = _cooled(shifted, filters.temperature[:, None, None])
    w = z.exp()
    one = torch.ones_like(w[0, 0, :1])
    k = filters.top_k[:, None, None].to(z.dtype).expand(-1, z.shape[1], 1)
    least = mass_threshold(z, one, k, inclusive=True)
    kept = torch.where(z >= least, w, 0)
    p = filters.top_p[:, None, None].to(z.dtype)
    if _any_nucleus(filters.top_p):
        above = mass_threshold(z, kept, p * kept.sum(dim=-1, keepdim=True), inclusive=False)
        above = torch.where(p < 1, above, -torch.inf)
    else:
        above = torch.full_like(least, -torch.inf)
    keep = (z >= least) & (z > above) & (z >= filters.min_p[:, None, None].log())
    return torch.where(keep, z, -torch.inf)


def _any_nucleus(top_p: Float[Tensor, " b"]) -> bool:
    """Whether a threshold of top-p is to be found: without one it would not be used.

    A graph that is traced is for any p; and to ask would make a GPU wait.
    """
    if torch.compiler.is_exporting() or top_p.device.type != "cpu":
        return True
    return bool((top_p < 1).any())


def _cooled(
    shifted: Float[Tensor, "b s v"], temperature: Float[Tensor, "b 1 1"]
) -> Float[Tensor, "b s v"]:
    """Logits over the temperature; at temperature 0 all weight is on the first maximum."""
    first = shifted.argmax(dim=-1, keepdim=True)
    index = torch.arange(shifted.shape[-1], device=shifted.device)
    greedy = torch.where(index == first, 0.0, LOWEST).to(shifted.dtype)
    divisor = torch.where(temperature > 0, temperature, 1).to(shifted.dtype)
    return torch.where(temperature > 0, shifted / divisor, greedy).clamp_min(LOWEST)


FLAT = 256
"""Up to so many values one running sum is exact enough; beyond, it is taken in blocks."""


def draw_or_take(
    logits: Float[Tensor, "*b v"], u: Float[Tensor, "*b"], forced: Int64[Tensor, "*b"]
) -> tuple[Int64[Tensor, "*b"], Float[Tensor, "*b"]]:
    """The forced value, or a drawn one where it is negative; and log p of it, in nats."""
    shifted, w = unnormalised(logits)
    drawn, total = inverse_cdf(w, u)
    value = torch.where(forced >= 0, forced, drawn)
    return value, shifted.gather(-1, value[..., None])[..., 0] - total.log()


def unnormalised(
    logits: Float[Tensor, "*b v"],
) -> tuple[Float[Tensor, "*b v"], Float[Tensor, "*b v"]]:
    """Shifted logits l - max l, at least in float32, and their exponentials w."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    shifted = wide - wide.amax(dim=-1, keepdim=True)
    return shifted, shifted.exp()


def inverse_cdf(
    w: Float[Tensor, "*b v"], u: Float[Tensor, "*b"]
) -> tuple[Int64[Tensor, "*b"], Float[Tensor, "*b"]]:
    """First i with C_i >= u C_last for the cumulative sum C of w, and C_last; never one of w_i = 0.

    Over many values C is summed in blocks of about sqrt(v), which keeps its rounding near that of a
    sum of sqrt(v) terms (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section
    4.2), and only the block that holds the value is summed value by value.

    Args:
        w: unnormalised probabilities, not all zero.
        u: uniforms in (0, 1).
    """
    v = w.shape[-1]
    if v <= FLAT:
        c = w.cumsum(dim=-1)
        total = c[..., -1]
        return (c < (u.to(w.dtype) * total)[..., None]).sum(dim=-1), total
    size = math.ceil(math.sqrt(v))
    padding = -v % size
    padded = torch.nn.functional.pad(w, (0, padding)) if padding else w
    blocks = padded.unflatten(-1, (-1, size))
    ends = blocks.sum(dim=-1).cumsum(dim=-1)
    total = ends[..., -1]
    target = (u.to(w.dtype) * total)[..., None]
    block = (ends < target).sum(dim=-1, keepdim=True)
    before = torch.nn.functional.pad(ends, (1, 0)).gather(-1, block)
    inside = blocks.gather(-2, block[..., None].expand(*block.shape, size))[..., 0, :].cumsum(-1)
    # The block's sum and its running sum may round apart: never look beyond the last of w > 0.
    rest = torch.minimum(target - before, inside[..., -1:])
    return block[..., 0] * size + (inside < rest).sum(dim=-1), total


class Drawn(NamedTuple):
    """What a loop has drawn so far, and where each row is."""

    position: Int64[Tensor, " b"]
    values: Int64[Tensor, "b T"]
    log_p: Float[Tensor, "b T"]
    log_q: Float[Tensor, "b T"] | None


@overridable
def sample_token(
    logits: Float[Tensor, "b s v"],
    at: Int64[Tensor, "b s"],
    u: Float[Tensor, "b T"],
    observed: Int64[Tensor, "b T"],
    state: Drawn,
    filters: Filters | None,
    repeats: bool,
) -> Drawn:
    """Draw or take the values of a block of positions, and record them.

    Args:
        logits: of each position of the block.
        at: its positions; the first is the row's own, or T - 1 where the row has ended.
        u: uniforms in (0, 1) of every position.
        observed: values that win, -1 where free.
        state: values and log-probabilities in nats so far; log_q where there are filters.
        filters: what the draw is filtered by, or None.
        repeats: whether logits of a row that has ended are again those of its last position, so
            that the row would not change anyway.

    Returns:
        the state after the block.
    """
    uniform, forced = u.gather(1, at), observed.gather(1, at)
    if filters is None:
        value, log_p = draw_or_take(logits, uniform, forced)
        return record(state, at, (value, log_p, None), repeats)
    shifted, w = unnormalised(logits)
    kept = filtered(shifted, filters)
    drawn, mass = inverse_cdf(kept.exp(), uniform)
    value = torch.where(forced >= 0, forced, drawn)
    index = value[..., None]
    log_p = shifted.gather(-1, index)[..., 0] - w.sum(dim=-1).log()
    log_q = kept.gather(-1, index)[..., 0] - mass.log()
    return record(state, at, (value, log_p, torch.where(forced >= 0, 0.0, log_q)), repeats)


def record(
    state: Drawn,
    at: Int64[Tensor, "b s"],
    new: tuple[Int64[Tensor, "b s"], Float[Tensor, "b s"], Float[Tensor, "b s"] | None],
    repeats: bool,
) -> Drawn:
    """The state with value, log p and log q written at a block of positions.

    Args:
        state: so far.
        at: positions, as in `sample_token`.
        new: value, log p and log q of each.
        repeats: as there.
    """
    last, start = state.values.shape[1] - 1, at[:, 0]
    ended = (state.position > last)[:, None]

    def written(old: Tensor, block: Tensor) -> Tensor:
        if not repeats:
            block = torch.where(ended, old.gather(1, at), block)
        return append(old, start, block)

    value, log_p, log_q = new
    values, log_ps = written(state.values, value), written(state.log_p, log_p.float())
    log_qs = None
    if state.log_q is not None and log_q is not None:
        log_qs = written(state.log_q, log_q.float())
    following = (state.position + at.shape[1]).clamp_max(last + 1)
    return Drawn(following, values, log_ps, log_qs)
