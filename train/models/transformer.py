"""A causal Transformer whose configurations include GPT-2, Llama and small image models.

References:
    Radford et al. (2019), Language models are unsupervised multitask learners (GPT-2): learned
    positions, LayerNorm before each part, GELU. Touvron et al. (2023), arXiv:2302.13971 (Llama):
    rotary positions (arXiv:2104.09864), RMSNorm (arXiv:1910.07467), SwiGLU (arXiv:2002.05202). Chen
    et al. (2020), Generative pretraining from pixels: images as sequences. Jiang et al. (2023),
    Mistral 7B, arXiv:2310.06825: windows. Black et al. (2022), arXiv:2204.06745 (GPT-NeoX):
    parallel attention and feed-forward part, partial rotary positions. Yang et al. (2025), Qwen3,
    arXiv:2505.09388: normalised heads.
"""

import copy
from collections.abc import Callable
from typing import final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.signature import CacheEntry, Update
from ancestral.train.models.autoregressive import (
    Cache,
    Events,
    Features,
    Label,
    Positions,
    Tokens,
)
from ancestral.train.models.block import Block, Norm, tables
from ancestral.train.models.inputs import SequenceNetwork
from ancestral.train.models.layers import LastProjection, dropout, operand
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.triton_kernels.cached_attention import cached_attention
from ancestral.triton_kernels.embed import slots_from
from ancestral.triton_kernels.linear import linear
from ancestral.triton_kernels.masked_attention import windowed_attention

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""A function (layer, q [b, s, h d], k [b, s, g d], v [b, s, g d]) -> y [b, s, h d]."""


@final
class Transformer(SequenceNetwork):
    """A decoder-only Transformer over the positions of an event, in the order of the DataSpec.

    References:
        Radford et al. (2019), Language models are unsupervised multitask learners. Touvron et al.
        (2023), arXiv:2302.13971, section 2.2.
    """

    cosine: Tensor
    sine: Tensor

    def __init__(self, config: TransformerConfig, data: DataSpec) -> None:
        """Draw fresh weights from torch's global generator.

        Args:
            config: shape of the network.
            data: space of the events.

        Raises:
            InvalidInput: the configuration does not fit the data (see `Inputs`).
        """
        learned = config.positions == "learned"
        super().__init__(config, data, positions=learned, start=config.start)
        self.config = config
        if config.positions == "rotary":
            for name, table in tables(data.length, config).items():
                self.register_buffer(name, table)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = Norm(config)
        bias = config.has_bias("head")
        self.head = (
            None if config.tied else LastProjection(config.width, self.likelihood, bias=bias)
        )
        if config.smoothness:
            self._smooth(config.smoothness)

    @torch.no_grad()
    def _smooth(self, length: float) -> None:
        """Make fresh weights a Gaussian process of the level: covariance exp(-(i - j)^2 / 2l^2)."""
        level = torch.arange(self.data.levels, dtype=torch.float64)
        covariance = (-0.5 * ((level[:, None] - level) / length).square()).exp()
        # Added to the diagonal so that the factorisation succeeds in float64.
        covariance = covariance + 1e-6 * torch.eye(self.data.levels, dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance).float()
        self.inputs.token.weight.copy_(factor @ self.inputs.token.weight)
        if self.inputs.above is not None:
            self.inputs.above.weight[:-1] = factor @ self.inputs.above.weight[:-1]
        if self.head is not None and self.config.likelihood == "categorical":
            self.head.weight.copy_(self.head.weight @ factor.T)

    def shortened(self, length: int) -> "Transformer":
        """Return the same weights over shorter sequences, with a shorter cache.

        Args:
            length: largest number of positions.

        Raises:
            InvalidInput: the events are not sequences, or `length` is not in 1 .. their length.
        """
        if len(self.data.event_shape) != 1 or not 1 <= length <= self.data.length:
            raise InvalidInput(
                f"length: expected 1 .. {self.data.length} for sequences (images keep their "
                f"length), got {length} for events {self.data.event_shape}"
            )
        short = copy.deepcopy(self)
        short.data = self.data.model_copy(update={"event_shape": (length,)})
        short.inputs.data = short.data
        if short.inputs.position is not None:
            rows = short.inputs.position.weight.detach()[:length].clone()
            short.inputs.position = nn.Embedding.from_pretrained(rows, freeze=False)
        if self.config.positions == "rotary":
            short.cosine, short.sine = self.cosine[:length].clone(), self.sine[:length].clone()
        return short

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """Keys and values of every layer; also the consumed tokens if the value above is read."""
        c, t = self.config, self.data.length
        axes = ("b", c.group_heads, t, c.head_size)
        entries = [
            CacheEntry(name=f"{part}_{i}", dtype="float32", axes=axes, update=Update.APPEND)
            for i in range(c.layers)
            for part in ("k", "v")
        ]
        return (*entries, *self.inputs.cache_spec)

    def predict(self, x: Events, label: Label) -> Float[Tensor, "b t p"]:
        """Predict all positions in one pass, by causal attention without a cache."""
        slots = torch.arange(x.shape[1], device=x.device)[None]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            c = self.config
            q, k, v = (part.unflatten(-1, (-1, c.head_size)).transpose(1, 2) for part in (q, k, v))
            window = c.layer_window(layer, self.data.length)
            rate = c.attention_rate if self.training else 0.0
            if window is not None:
                y = windowed_attention(q, k, v, window, rate)
            else:
                y = torch.nn.functional.scaled_dot_product_attention(
                    q, k, v, dropout_p=rate, is_causal=True, enable_gqa=c.heads != c.group_heads
                )
            return y.transpose(1, 2).flatten(-2)

        features = self._features(self.inputs.parallel(x, label), slots, attend)
        predicted = self._predicted(features)
        if self.first_position == 0:
            return predicted
        return torch.nn.functional.pad(predicted, (0, 0, 1, 0))[:, :-1]

    def _extended(
        self, tokens: Tokens, position: Positions, cache: Cache, label: Label
    ) -> tuple[Features, dict[str, Tensor]]:
        """Append the block to the cache; without a start symbol, positions start at 1."""
        first = position - 1 if self.first_position else position
        slots = slots_from(first, tokens)
        new = dict(cache)
        h = self.inputs.extend(tokens, first, new, label)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            window = self.config.layer_window(layer, self.data.length)
            y, new[f"k_{layer}"], new[f"v_{layer}"] = cached_attention(
                q, k, v, cache[f"k_{layer}"], cache[f"v_{layer}"], first, window
            )
            return y

        return self._features(h, slots, attend), new

    def _features(
        self, h: Float[Tensor, "b s d"], slots: Int64[Tensor, "#b s"], attend: Attend
    ) -> Features:
        """Run the blocks on the embedded slots, and the last norm."""
        h, y = dropout(h, self.config.dropout, self.training), None
        rotary = None
        if self.config.positions == "rotary":
            rotary = (self.cosine[slots], self.sine[slots])
        for i, block in enumerate(self.blocks):
            h, y = block(h, y, lambda q, k, v, i=i: attend(i, q, k, v), rotary)
        return self.norm(h, y)[1]

    def _predicted(self, h: Features) -> Float[Tensor, "b s p"]:
        if self.head is not None:
            return self.head(h)
        return linear(h, operand(self.inputs.token), transposed=True, wide=True)
