"""What runs instead of what, where our kernels run: the table of `Kernels`.

Operators that give a cache back write it in place: whoever uses the table owns what it passes in.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.append.kernel import launch as launch_append
from ancestral.triton_kernels.cached_attention import cached_attention
from ancestral.triton_kernels.cached_attention.kernel import launch as launch_cached_attention
from ancestral.triton_kernels.checks import FLOATS
from ancestral.triton_kernels.embed import Tables, consume, embed, slots_from
from ancestral.triton_kernels.embed.kernel import launch as launch_embed
from ancestral.triton_kernels.embed.kernel import launch_consume
from ancestral.triton_kernels.linear import linear
from ancestral.triton_kernels.linear.kernel import launch as launch_linear
from ancestral.triton_kernels.masked_attention import masked_attention, windowed_attention
from ancestral.triton_kernels.masked_attention.kernel import launch as launch_masked_attention
from ancestral.triton_kernels.masked_attention.kernel import scaled_dot_product
from ancestral.triton_kernels.overridable import Table
from ancestral.triton_kernels.philox import Seeds
from ancestral.triton_kernels.residual_norm import residual_norm
from ancestral.triton_kernels.residual_norm.kernel import launch as launch_residual_norm
from ancestral.triton_kernels.ring import ring
from ancestral.triton_kernels.ring.kernel import launch as launch_ring
from ancestral.triton_kernels.sample_token import Drawn, sample_token
from ancestral.triton_kernels.sample_token.filters import Filters
from ancestral.triton_kernels.sample_token.kernel import LARGEST
from ancestral.triton_kernels.sample_token.kernel import launch as launch_sample_token

FEW_ROWS = 64
"""Above so many rows a product is bound by arithmetic, where PyTorch's own library is at home."""


def table(seeds: Seeds | None = None, *, batch_invariant: bool = False) -> Table:
    """Our kernels for our operators, and for PyTorch's attention.

    Args:
        seeds: what the uniforms of a step are made of in the kernel; None to read them from u.
        batch_invariant: use our matrix product for any number of rows, so that the bits of a row
            do not depend on the batch that it is in.
    """
    return {
        append._opoverload: launch_append,
        cached_attention._opoverload: _cached_attention,
        masked_attention._opoverload: launch_masked_attention,
        residual_norm._opoverload: launch_residual_norm,
        ring._opoverload: launch_ring,
        consume: _consume,
        embed: _embed,
        slots_from: _slots_from,
        linear: partial(_linear, batch_invariant),
        sample_token: partial(_sample_token, seeds),
        windowed_attention: _windowed_attention,
        torch.nn.functional.scaled_dot_product_attention: scaled_dot_product,
    }


def _cached_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    k_cache: Tensor,
    v_cache: Tensor,
    position: Tensor,
    window: int | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    y = launch_cached_attention(q, k, v, k_cache, v_cache, position, window)
    return y, k_cache, v_cache


def _windowed_attention(
    q: Tensor, k: Tensor, v: Tensor, window: int, dropout: float = 0.0
) -> Tensor:
    """By our kernel, but with dropout or a derivative."""
    differentiated = torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v))
    if dropout or differentiated or q.dtype not in FLOATS:
        return windowed_attention(q, k, v, window, dropout)
    return launch_masked_attention(q, k, v, None, window, None)


def _consume(
    values: Tensor, position: Tensor, offsets: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    if offsets is not None and len(offsets) > 1:
        return consume(values, position, offsets)
    return launch_consume(values, position)


def _slots_from(first: Tensor, tokens: Tensor) -> Tensor:
    return first[:, None] if tokens.shape[1] == 1 else slots_from(first, tokens)


def _embed(
    tokens: Tensor, consumed: Tensor, slots: Tensor, label: Tensor | None, tables: Tables
) -> Tensor:
    """One slot a row by the kernel; whole events and blocks by the reference."""
    run = launch_embed if slots.shape == tokens.shape == (len(tokens), 1) else embed
    return run(tokens, consumed, slots, label, tables)


def _linear(
    batch_invariant: bool, x: Tensor, weight: Tensor, *rest: Any, **settings: Any
) -> Tensor:
    few = x.numel() <= FEW_ROWS * x.shape[-1]
    run = launch_linear if batch_invariant or few else linear
    return run(x, weight, *rest, **settings)


def _sample_token(  # noqa: PLR0913 - the operator's arguments, and what its noise is made of
    seeds: Seeds | None,
    logits: Tensor,
    at: Tensor,
    u: Tensor,
    observed: Tensor,
    state: Drawn,
    filters: Filters | None,
    repeats: bool,
) -> Drawn:
    """One position by the kernel; blocks, whose values are observed, by the reference."""
    if logits.shape[1] != 1 or logits.shape[2] > LARGEST:
        return sample_token(logits, at, u, observed, state, filters, repeats)
    noise = u if seeds is None else seeds
    return launch_sample_token(logits[:, 0], noise, observed, state, filters)
