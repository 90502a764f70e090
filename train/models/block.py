"""A Transformer block: norm, attention, norm and feed-forward part on a residual stream.

With rotary positions, features of queries and keys are rotated by angles proportional to the slot.

References:
    Ba et al. (2016), arXiv:1607.06450 (LayerNorm); Zhang and Sennrich (2019), arXiv:1910.07467
    (RMSNorm); Shazeer (2020), arXiv:2002.05202 (SwiGLU). Dehghani et al. (2023), arXiv:2302.05442,
    section 2 (normalised queries and keys). Black et al. (2022), GPT-NeoX-20B, arXiv:2204.06745,
    section 2.1 (parallel attention and feed-forward). Su et al. (2021), RoFormer, arXiv:2104.09864,
    section 3.2. Chen et al. (2023), Extending context window of large language models via position
    interpolation, arXiv:2306.15595 (linear scaling). Dubey et al. (2024), The Llama 3 herd of
    models, arXiv:2407.21783 (scaling by frequency, as in Llama 3.1 and later).
"""

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.models.autoregressive import Features
from ancestral.train.models.layers import Linear, dropout
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.triton_kernels.residual_norm import norm, residual_norm


def tables(length: int, config: TransformerConfig) -> dict[str, Float[Tensor, "t half"]]:
    """Return the cosine and sine of each slot's angle at each frequency, by name.

    Angles are computed in float64 and rounded once.
    """
    slots = torch.arange(length, dtype=torch.float64)
    angles = slots[:, None] * frequencies(config)
    return {"cosine": angles.cos().float(), "sine": angles.sin().float()}


def frequencies(config: TransformerConfig) -> Float[Tensor, " half"]:
    """Return base^(-2i/w), scaled as configured, of the w rotated features, in radians per slot."""
    width = config.rotated
    plain = config.rotary_base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)
    if not config.rotary_scaling:
        return plain
    factor, *by_turns = config.rotary_scaling
    if not by_turns:
        return plain / factor
    low, high, trained = by_turns
    # Turns within the length that the model was trained on; frequencies with few turns are divided.
    turns = plain * trained / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return plain * (kept + (1 - kept) / factor)


def rotate(
    x: Float[Tensor, "b s h d"],
    cosine: Float[Tensor, "#b s half"],
    sine: Float[Tensor, "#b s half"],
) -> Float[Tensor, "b s h d"]:
    """Rotate the pairs (x_i, x_(i + w/2)) of the first w features by the angles of their slots.

    This is computed in the dtype of the cosines, which may be wider than that of x.
    """
    width = 2 * cosine.shape[-1]
    cosine, sine = cosine[:, :, None], sine[:, :, None]
    first, second = x[..., :width].chunk(2, dim=-1) if width < x.shape[-1] else x.chunk(2, dim=-1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    if width < x.shape[-1]:
        turned.append(x[..., width:].to(cosine.dtype))
    return torch.cat(turned, dim=-1).to(x.dtype)


class Norm(nn.Module):
    """LayerNorm or RMSNorm over the last axis; for the features of heads always RMSNorm."""

    def __init__(self, config: TransformerConfig, *, of_heads: bool = False) -> None:
        super().__init__()
        self.rms, self.epsilon = of_heads or config.norm == "rms", config.norm_epsilon
        width = config.head_size if of_heads else config.width
        self.weight = nn.Parameter(torch.ones(width))
        with_bias = config.has_bias("norm") and not self.rms
        self.bias = nn.Parameter(torch.zeros(width)) if with_bias else None

    def forward(
        self, h: Float[Tensor, "b s *h d"], y: Features | None
    ) -> tuple[Float[Tensor, "b s *h d"], Float[Tensor, "b s *h d"]]:
        """Return h + y (h if y is None), and its norm."""
        if y is None:
            return h, norm(h, self.weight, self.bias, self.epsilon, self.rms)
        return residual_norm(h, y, self.weight, self.bias, self.epsilon, self.rms)


class Block(nn.Module):
    """Attention, then the feed-forward part, each on the normalised residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c, depth = config, (2 * config.layers) ** -0.5
        self.config = config
        self.attention_norm = Norm(c)
        queries, group = c.heads * c.head_size, c.group_heads * c.head_size
        self.widths = [queries, group, group]
        self.qkv = Linear(c.width, sum(self.widths), bias=c.has_bias("qkv"))
        self.q_norm = Norm(c, of_heads=True) if c.head_norms else None
        self.k_norm = Norm(c, of_heads=True) if c.head_norms else None
        self.out = Linear(queries, c.width, bias=c.has_bias("out"), scale=depth)
        self.feed_norm = Norm(c)
        feed = c.has_bias("feed")
        self.up = Linear(c.width, c.inner * (2 if c.activation == "swiglu" else 1), bias=feed)
        self.down = Linear(c.inner, c.width, bias=feed, scale=depth)

    def forward(
        self,
        h: Features,
        y: Features | None,
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
        rotary: tuple[Tensor, Tensor] | None,
    ) -> tuple[Features, Features]:
        """Return the residual stream, and a branch that the next norm adds to it.

        Args:
            h: residual stream, [b, s, d].
            y: branch of the previous block, not yet added; None at the start.
            attend: function that mixes positions; everything else is per position.
            rotary: cosines and sines of the slots, [b, s, w/2] each; None without rotary positions.
        """
        c = self.config
        h, normed = self.attention_norm(h, y)
        q, k, v = self.qkv(normed).split(self.widths, dim=-1)
        q, k = self._heads(q, self.q_norm, rotary), self._heads(k, self.k_norm, rotary)
        y = dropout(self.out(attend(q, k, v)), c.dropout, self.training)
        h, normed = self.feed_norm(h, None if c.parallel else y)
        fed = dropout(self.down(self.up(normed, c.activation)), c.dropout, self.training)
        return h, (y + fed if c.parallel else fed)

    def _heads(
        self,
        x: Float[Tensor, "b s hd"],
        normalise: Norm | None,
        rotary: tuple[Tensor, Tensor] | None,
    ) -> Float[Tensor, "b s hd"]:
        """Return queries or keys, with each head normalised and rotated if the model does so."""
        if normalise is None and rotary is None:
            return x
        heads = x.unflatten(-1, (-1, self.config.head_size))
        if normalise is not None:
            _, heads = normalise(heads, None)
        return (heads if rotary is None else rotate(heads, *rotary)).flatten(-2)
