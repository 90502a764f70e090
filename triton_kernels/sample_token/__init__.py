"""The end of a sampling step: from the logits of a position to its value and log-probability.

With l the logits of row r at its position n, and u the uniform of that position,

    z = l - max l           log p(i) = z_i - log sum exp z
    z' = z / temperature, filtered      log q(i) = z'_i - log sum exp z'
    value = observed[r, n], where it is >= 0;  else the first i with C_i >= u C_last,
            C the cumulative sum of exp z'

Temperature 0 takes the first maximum of z, with log q = 0. At temperature 1 without filters log q
has the bits of log p. Value, log p and log q (0 where observed) are written at n, and the row's
position becomes n + 1. A row at position T has ended and does not change.

References:
    Devroye (1986), Non-uniform random variate generation, section III.2 (inversion).
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.overridable import overridable
from ancestral.triton_kernels.sample_token.filters import Filters, Temperature, cooled, kept, most
from ancestral.triton_kernels.sample_token.inverse_cdf import (
    inverse_cdf,
    last_sum,
    unnormalised,
)


class Drawn(NamedTuple):
    """What a loop has drawn so far, and the position of each row."""

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
    settings: Temperature | Filters,
    repeats: bool,
) -> Drawn:
    """Draw or take the values of a block of positions, and record them.

    Args:
        logits: logits of each position of the block.
        at: positions of the block; the first is the row's own, or T - 1 if the row has ended.
        u: uniforms in (0, 1), one per position.
        observed: values to take instead of drawing, -1 where free.
        state: values, log p and log q in nats so far.
        settings: temperature of the draw, and filters if it has any.
        repeats: whether the logits of a row that has ended repeat those of its last position, so
            that writing them again does not change the row.

    Returns:
        the state after the block.
    """
    uniform, forced = u.gather(1, at), observed.gather(1, at)
    shifted, w = unnormalised(logits)
    z, warm = cooled(shifted, settings.temperature)
    cold = z.exp()
    if isinstance(settings, Filters):
        total = w.sum(dim=-1)
        # Not a `where`, which takes ONNX Runtime three times as long over many values.
        cold = cold * kept(z, cold, settings)
    else:
        total = last_sum(w)
    drawn, mass = inverse_cdf(cold, uniform, most(warm))
    new = taken((shifted, total), (z, mass), drawn, forced)
    return record(state, at, new, repeats)


def taken(
    model: tuple[Float[Tensor, "b s v"], Float[Tensor, "b s"]],
    filtered: tuple[Float[Tensor, "b s v"], Float[Tensor, "b s"]],
    drawn: Int64[Tensor, "b s"],
    forced: Int64[Tensor, "b s"],
) -> tuple[Int64[Tensor, "b s"], Float[Tensor, "b s"], Float[Tensor, "b s"]]:
    """Return the values of a block of positions, log p, and log q, which is 0 where observed.

    Args:
        model: logits of the model minus their maximum, and the sum of their exponentials.
        filtered: the same for the distribution drawn from.
        drawn: values that are drawn.
        forced: values to take instead, -1 where free.
    """
    (shifted, total), (z, mass) = model, filtered
    free = forced < 0
    value = torch.where(free, drawn, forced)
    index = value[..., None]
    log_p = shifted.gather(-1, index)[..., 0] - total.log()
    log_q = z.gather(-1, index)[..., 0] - mass.log()
    return value, log_p, torch.where(free, log_q, 0.0)


def record(
    state: Drawn,
    at: Int64[Tensor, "b s"],
    new: tuple[Int64[Tensor, "b s"], Float[Tensor, "b s"], Float[Tensor, "b s"] | None],
    repeats: bool,
) -> Drawn:
    """Return the state with value, log p and log q written at a block of positions.

    Args:
        state: the state so far.
        at: positions, as in `sample_token`.
        new: value, log p and log q of each position.
        repeats: as in `sample_token`.
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
