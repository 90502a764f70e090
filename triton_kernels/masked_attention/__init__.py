"""Attention of a block of queries, each over the slots up to its own or over a window of them.

With query i of row r at slot n = start[r] + i,

    y_i = sum_{n - window < j <= n} softmax_j(scale q_i . k_j) v_j

The mask is this pair of inequalities, never a tensor. Grouped queries: head i reads key/value head
i // (h / g). Without `start` every row begins at slot 0, which is causal attention. A row whose
queries do not fit its slots (start < 0, or start + s > T) gives NaN.

References:
    Vaswani et al. (2017), Attention is all you need, arXiv:1706.03762, section 3.2.
    Beltagy et al. (2020), Longformer, arXiv:2004.05150, section 3.1 (windows).
    Ainslie et al. (2023), GQA, arXiv:2305.13245, section 2.
"""

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from ancestral.triton_kernels.overridable import overridable

WIDEST_DENSE = 128
"""Largest head size of the kernel in dense.py, which other launchers run."""


def masked_attention_reference(
    q: Float[Tensor, "b h s d"],
    k: Float[Tensor, "b g T d"],
    v: Float[Tensor, "b g T d"],
    start: Int64[Tensor, " b"] | None,
    window: int | None,
    scale: float | None,
) -> Float[Tensor, "b h s d"]:
    """Attend, each query over the slots up to its own.

    Args:
        q: queries, [b, h, s, d]; the last axis is contiguous, others have any stride.
        k: keys, [b, g, T, d], likewise; T >= s.
        v: values, [b, g, T, d], likewise.
        start: slot of the first query of each row, [b] int64; None for 0.
        window: number of slots that a query sees, including its own; None for all up to its own.
        scale: factor on the scores, positive; None for 1 / sqrt(d).

    Returns:
        y [b, h, s, d], stored as [b, s, h, d], so that y.transpose(1, 2).flatten(2) is free. A
        row with start < 0 or start + s > T is all NaN. Slots that no query of a row sees may hold
        anything, even NaN; a NaN in v that one query sees may reach other queries of its row.
    """
    (b, h, s, d), (g, slots) = q.shape, k.shape[1:3]
    wide = torch.promote_types(q.dtype, torch.float32)
    first = torch.zeros(b, dtype=torch.int64, device=q.device) if start is None else start
    own = (first[:, None] + torch.arange(s, device=q.device))[:, None, :, None]
    slot = torch.arange(slots, device=q.device)
    visible = slot <= own
    if window is not None:
        visible &= slot > own - window
    read = visible.any(2)[..., None]
    k, v = (torch.where(read, x.to(wide), 0).repeat_interleave(h // g, 1) for x in (k, v))
    score = q.to(wide) @ k.mT * (d**-0.5 if scale is None else scale)
    y = score.masked_fill(~visible, -torch.inf).softmax(-1) @ v
    fits = (first >= 0) & (first <= slots - s)
    y = torch.where(fits[:, None, None, None], y, torch.nan)
    return y.to(q.dtype).transpose(1, 2).contiguous().transpose(1, 2)


@overridable
def windowed_attention(
    q: Float[Tensor, "b h t d"],
    k: Float[Tensor, "b g t d"],
    v: Float[Tensor, "b g t d"],
    window: int,
    dropout: float = 0.0,
) -> Float[Tensor, "b h t d"]:
    """Attend over whole events, each query over the `window` slots up to its own.

    For models: it is differentiable, and an export traces it as PyTorch's attention with a mask.

    Args:
        q: queries.
        k: keys.
        v: values.
        window: number of slots that a query sees, including its own.
        dropout: dropout rate of the attention weights.
    """
    slot = torch.arange(q.shape[2], device=q.device)
    visible = (slot <= slot[:, None]) & (slot > slot[:, None] - window)
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, visible, dropout_p=dropout, enable_gqa=q.shape[1] != k.shape[1]
    )
