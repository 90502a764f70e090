"""A Transformer block: norm, attention, norm, feed-forward, on a residual stream.

References:
    Ba et al. (2016), arXiv:1607.06450 (LayerNorm); Zhang and Sennrich (2019), arXiv:1910.07467
    (RMSNorm); Shazeer (2020), arXiv:2002.05202 (SwiGLU). Dehghani et al. (2023), arXiv:2302.05442,
    section 2 (normalised queries and keys). Black et al. (2022), GPT-NeoX-20B, arXiv:2204.06745,
    section 2.1 (parallel attention and feed-forward).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.models.autoregressive import Features
from ancestral.train.models.layers import Linear, dropout
from ancestral.train.models.rotary import rotate
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.triton_kernels.residual_norm import norm, residual_norm


class Norm(nn.Module):
    """LayerNorm or RMSNorm over the last axis; of each head's features always RMSNorm."""

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
        """h with y added (none at the start of the network), and its norm."""
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
        """The residual stream, and a branch that the next norm adds to it, twice.

        Args:
            h: residual stream.
            y: the branch of the block before, not yet added; none at the start.
            attend: mixes positions; all else is per position.
            rotary: cosines and sines of the slots, [b, s, w/2] each.
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
        """Queries or keys, each head normalised and rotated where the model does so."""
        if normalise is None and rotary is None:
            return x
        heads = x.unflatten(-1, (-1, self.config.head_size))
        if normalise is not None:
            _, heads = normalise(heads, None)
        return (heads if rotary is None else rotate(heads, *rotary)).flatten(-2)
