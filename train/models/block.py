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

from ancestral.train.models.dropout import dropout
from ancestral.train.models.rotary import rotate
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.triton_kernels.linear import Activation, linear
from ancestral.triton_kernels.residual_norm import norm, residual_norm


class Linear(nn.Module):
    """x W + b with W stored [d_in, d_out], as the exported graphs read it."""

    def __init__(self, d_in: int, d_out: int, bias: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_in, d_out) * (scale * d_in**-0.5))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(
        self, x: Float[Tensor, "*b i"], activation: Activation = "none"
    ) -> Float[Tensor, "*b o"]:
        """Apply the map to the last axis, and the activation to its result."""
        return linear(x, self.weight, self.bias, activation)


class Norm(nn.Module):
    """LayerNorm or RMSNorm over the last axis, of the residual stream and what is added to it."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.rms, self.epsilon = config.norm == "rms", config.norm_epsilon
        self.weight = nn.Parameter(torch.ones(config.width))
        with_bias = config.has_bias("norm") and config.norm == "layer"
        self.bias = nn.Parameter(torch.zeros(config.width)) if with_bias else None

    def forward(
        self, h: Float[Tensor, "b s d"], y: Float[Tensor, "b s d"] | None
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s d"]]:
        """The stream with y added (none at the start of the network), and its norm."""
        if y is None:
            return h, norm(h, self.weight, self.bias, self.epsilon, self.rms)
        added, normed = residual_norm(h, y, self.weight, self.bias, self.epsilon, self.rms)
        return added, normed


class HeadNorm(nn.Module):
    """RMSNorm over the features of each head."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.epsilon = config.norm_epsilon
        self.weight = nn.Parameter(torch.ones(config.head))

    def forward(self, heads: Float[Tensor, "b s h d"]) -> Float[Tensor, "b s h d"]:
        return norm(heads, self.weight, None, self.epsilon, True)


class Block(nn.Module):
    """Attention, then the feed-forward part, each on the normalised residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c, depth = config, (2 * config.layers) ** -0.5
        self.config = config
        self.attention_norm = Norm(c)
        self.qkv = Linear(c.width, (c.heads + 2 * c.group_heads) * c.head, c.has_bias("qkv"))
        self.q_norm = HeadNorm(c) if c.head_norms else None
        self.k_norm = HeadNorm(c) if c.head_norms else None
        self.out = Linear(c.heads * c.head, c.width, c.has_bias("out"), depth)
        self.feed_norm = Norm(c)
        feed = c.has_bias("feed")
        self.up = Linear(c.width, c.inner * (2 if c.activation == "swiglu" else 1), feed)
        self.down = Linear(c.inner, c.width, feed, depth)

    def forward(
        self,
        h: Float[Tensor, "b s d"],
        y: Float[Tensor, "b s d"] | None,
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
        rotary: tuple[Tensor, Tensor] | None,
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s d"]]:
        """The residual stream, and a branch that the next norm adds to it, twice.

        Args:
            h: residual stream.
            y: the branch of the block before, not yet added; none at the start.
            attend: mixes positions; all else is per position.
            rotary: cosines and sines of the slots, [b, s, w/2] each.
        """
        c = self.config
        width, group = c.heads * c.head, c.group_heads * c.head
        h, normed = self.attention_norm(h, y)
        q, k, v = self.qkv(normed).split([width, group, group], dim=-1)
        q, k = self._heads(q, self.q_norm, rotary), self._heads(k, self.k_norm, rotary)
        y = dropout(self.out(attend(q, k, v)), c.dropout, self.training)
        h, normed = self.feed_norm(h, None if c.parallel else y)
        fed = dropout(self._feed(normed), c.dropout, self.training)
        return h, (y + fed if c.parallel else fed)

    def _heads(
        self,
        x: Float[Tensor, "b s hd"],
        normalise: "HeadNorm | None",
        rotary: tuple[Tensor, Tensor] | None,
    ) -> Float[Tensor, "b s hd"]:
        """Queries or keys, each head normalised and rotated where the model does so."""
        if normalise is None and rotary is None:
            return x
        heads = x.unflatten(-1, (-1, self.config.head))
        if normalise is not None:
            heads = normalise(heads)
        return (heads if rotary is None else rotate(heads, *rotary)).flatten(-2)

    def _feed(self, h: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        return self.down(self.up(h, self.config.activation))
