"""Attention of a block over a cache, after the block's keys and values are appended to it.

With q_i the query of row r at slot n = position[r] + i, and K, V the caches after the append,

    y_i = sum_{n - window < j <= n} softmax_j(q_i . K_j / sqrt(d)) V_j

so slots after a query's own never affect its result. Grouped queries: query head i reads key/value
head i // (h / g).

References:
    Vaswani et al. (2017), Attention is all you need, arXiv:1706.03762, section 3.2.
    Ainslie et al. (2023), GQA, arXiv:2305.13245, section 2.
    Beltagy et al. (2020), Longformer, arXiv:2004.05150, section 3.1 (windows).
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.overridable import operator


def cached_attention_reference(  # noqa: PLR0913 - the operator's arguments, and in_place
    q: Float[Tensor, "b s hd"],
    k: Float[Tensor, "b s gd"],
    v: Float[Tensor, "b s gd"],
    k_cache: Float[Tensor, "b g T d"],
    v_cache: Float[Tensor, "b g T d"],
    position: Int64[Tensor, " b"],
    window: int | None = None,
    *,
    in_place: bool = False,
) -> tuple[Float[Tensor, "b s hd"], Float[Tensor, "b g T d"], Float[Tensor, "b g T d"]]:
    """Append k and v at each row's position, then attend over the slots up to each query's own.

    Args:
        q: queries, heads concatenated, [b, s, h d].
        k: keys, [b, s, g d].
        v: values, [b, s, g d].
        k_cache: [b, g, T, d]; slots from `position` on may hold any finite values.
        v_cache: [b, g, T, d].
        position: slot of the first query of each row, [b] int64; position + s <= T.
        window: number of slots that a query sees, including its own; None for all up to its own.
        in_place: whether to write into the caches instead of copies.

    Returns:
        y [b, s, h d], and both caches with slots position .. position + s - 1 written.
    """
    if not in_place:
        k_cache, v_cache = k_cache.clone(), v_cache.clone()
    s, (g, d) = q.shape[1], k_cache.shape[1::2]
    q, k, v = (x.unflatten(-1, (-1, d)).transpose(1, 2) for x in (q, k, v))
    slots = position[:, None] + torch.arange(s, device=q.device)
    index = slots[:, None, :, None].expand(-1, g, -1, d)
    k_cache.scatter_(2, index, k)
    v_cache.scatter_(2, index, v)
    last = int(slots.max()) + 1
    slot, own = torch.arange(last, device=q.device), slots[:, None, :, None]
    visible = slot <= own
    if window is not None:
        visible &= slot > own - window
    y = torch.nn.functional.scaled_dot_product_attention(
        q, k_cache[:, :, :last], v_cache[:, :, :last], visible, enable_gqa=q.shape[1] != g
    )
    return y.transpose(1, 2).flatten(-2).contiguous(), k_cache, v_cache


cached_attention = operator(
    "cached_attention",
    cached_attention_reference,
    "(Tensor q, Tensor k, Tensor v, Tensor k_cache, Tensor v_cache, Tensor position, "
    "int? window=None) -> (Tensor, Tensor, Tensor)",
    lambda q, k, v, *rest: (q.new_empty(q.shape), *map(torch.empty_like, rest[:2])),
)
"""`cached_attention_reference` as an operator; its other forms are compared with the reference."""
