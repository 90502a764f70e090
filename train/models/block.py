"""A Transformer block: norm, attention, norm, feed-forward, on a residual stream.

References:
    Ba et al. (2016), arXiv:1607.06450 (LayerNorm); Zhang and Sennrich (2019), arXiv:1910.07467
    (RMSNorm); Shazeer (2020), arXiv:2002.05202 (SwiGLU); Su et al. (2021), arXiv:2104.09864 (rotary
    positions).
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ancestral.train.models.dropout import dropout
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
        with_bias = config.bias and config.norm == "layer"
        self.bias = nn.Parameter(torch.zeros(config.width)) if with_bias else None

    def forward(
        self, h: Float[Tensor, "b s d"], y: Float[Tensor, "b s d"] | None
    ) -> tuple[Float[Tensor, "b s d"], Float[Tensor, "b s d"]]:
        """The stream with y added (none at the start of the network), and its norm."""
        if y is None:
            return h, norm(h, self.weight, self.bias, self.epsilon, self.rms)
        added, normed = residual_norm(h, y, self.weight, self.bias, self.epsilon, self.rms)
        return added, normed


class Block(nn.Module):
    """Attention, then the feed-forward part, each on the normalised residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        c, depth = config, (2 * config.layers) ** -0.5
        self.config = config
        self.attention_norm = Norm(c)
        self.qkv = Linear(c.width, (c.heads + 2 * c.group_heads) * c.head, c.bias)
        self.out = Linear(c.heads * c.head, c.width, c.bias, depth)
        self.feed_norm = Norm(c)
        self.up = Linear(c.width, c.inner * (2 if c.activation == "swiglu" else 1), c.bias)
        self.down = Linear(c.inner, c.width, c.bias, depth)

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
            rotary: cosines and sines of the slots, [b, s, d/2] each.
        """
        c = self.config
        width, group = c.heads * c.head, c.group_heads * c.head
        h, normed = self.attention_norm(h, y)
        q, k, v = self.qkv(normed).split([width, group, group], dim=-1)
        if rotary is not None:
            q, k = (_rotate(part.unflatten(-1, (-1, c.head)), *rotary) for part in (q, k))
        y = dropout(self.out(attend(q, k, v)), c.dropout, self.training)
        h, normed = self.feed_norm(h, y)
        return h, dropout(self._feed(normed), c.dropout, self.training)

    def _feed(self, h: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        return self.down(self.up(h, self.config.activation))


def rotary_angles(length: int, head: int, base: float) -> Float[Tensor, "t half"]:
    """Angle of each slot at each of the head's d/2 frequencies base^(-2i/d), in float64."""
    frequencies = base ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
    return torch.arange(length, dtype=torch.float64)[:, None] * frequencies


def _rotate(
    x: Float[Tensor, "b s h d"],
    cosine: Float[Tensor, "#b s half"],
    sine: Float[Tensor, "#b s half"],
) -> Float[Tensor, "b s hd"]:
    """Rotate the pairs (x_i, x_{i + d/2}) by the angles of their slots (Llama's pairing).

    In the type of the cosines, which may be wider than x.
    """
    first, second = x.chunk(2, dim=-1)
    cosine, sine = cosine[:, :, None], sine[:, :, None]
    rotated = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return rotated.flatten(-2).to(x.dtype)
