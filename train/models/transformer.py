"""A causal Transformer whose configurations include GPT-2, Llama and small image models.

References:
    Radford et al. (2019), Language models are unsupervised multitask learners (GPT-2): learned
    positions, LayerNorm before each part, GELU. Touvron et al. (2023), arXiv:2302.13971 (Llama):
    rotary positions (arXiv:2104.09864), RMSNorm (arXiv:1910.07467), SwiGLU (arXiv:2002.05202).
    Chen et al. (2020), Generative pretraining from pixels: images as sequences.
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
from ancestral.train.models.autoregressive import AutoregressiveModel, Cache
from ancestral.train.models.block import Block, Linear, Norm, rotary_angles
from ancestral.train.models.dropout import dropout
from ancestral.train.models.transformer_config import TransformerConfig
from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.cached_attention import cached_attention

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q [b, s, h d], k [b, s, g d], v [b, s, g d]) -> y [b, s, h d]."""


@final
class Transformer(AutoregressiveModel):
    """Decoder-only Transformer over the positions of an event, in the order of the DataSpec."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, config: TransformerConfig, data: DataSpec) -> None:
        """Draw fresh weights from torch's global generator.

        Raises:
            InvalidInput: the upper neighbour is asked of events that are no images, or the start
                token is no level.
        """
        super().__init__()
        if config.above and len(data.event_shape) != 2:
            raise InvalidInput(f"above: expected events [height, width], got {data.event_shape}")
        if isinstance(config.start, int) and not 0 <= config.start < data.levels:
            raise InvalidInput(f"start: expected a level below {data.levels}, got {config.start}")
        self.config, self.data = config, data
        self.first_position = 1 if config.start is None else 0
        d, scale = config.width, config.width**-0.5
        self.token = _table(data.levels, d, scale)
        self.start = _table(1, d, scale) if config.start == "learned" else None
        self.label = _table(data.num_classes, d, scale) if data.num_classes else None
        self.above = _table(data.levels + 1, d, scale) if config.above else None
        self.position = _table(data.length, d, scale) if config.positions == "learned" else None
        if config.positions == "rotary":
            angles = rotary_angles(data.length, config.head, config.rotary_base)
            self.register_buffer("cosine", angles.cos().float())
            self.register_buffer("sine", angles.sin().float())
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = Norm(config)
        self.head = None if config.tied else Linear(d, data.levels, config.bias)
        if config.smoothness:
            self._smooth(config.smoothness)

    @torch.no_grad()
    def _smooth(self, length: float) -> None:
        """Make fresh weights a Gaussian process of the level: covariance exp(-(i - j)^2 / 2l^2)."""
        level = torch.arange(self.data.levels, dtype=torch.float64)
        covariance = (-0.5 * ((level[:, None] - level) / length).square()).exp()
        # The diagonal keeps the factor finite in float64.
        covariance = covariance + 1e-6 * torch.eye(self.data.levels, dtype=torch.float64)
        factor = torch.linalg.cholesky(covariance).float()
        self.token.weight.copy_(factor @ self.token.weight)
        if self.above is not None:
            self.above.weight[:-1] = factor @ self.above.weight[:-1]
        if self.head is not None:
            self.head.weight.copy_(self.head.weight @ factor.T)

    def shortened(self, length: int) -> "Transformer":
        """The same weights over sequences of at most that many positions: a shorter cache.

        Raises:
            InvalidInput: events are no sequences, or the length is not in 1 .. their own.
        """
        if len(self.data.event_shape) != 1 or not 1 <= length <= self.data.length:
            raise InvalidInput(
                f"length: expected 1 .. {self.data.length} for sequences (images keep theirs), "
                f"got {length} for events {self.data.event_shape}"
            )
        short = copy.deepcopy(self)
        short.data = self.data.model_copy(update={"event_shape": (length,)})
        if short.position is not None:
            rows = short.position.weight.detach()[:length].clone()
            short.position = nn.Embedding.from_pretrained(rows, freeze=False)
        if self.config.positions == "rotary":
            short.cosine, short.sine = self.cosine[:length].clone(), self.sine[:length].clone()
        return short

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """Keys and values of every layer; the consumed tokens where the upper neighbour is fed."""
        c, t = self.config, self.data.length
        axes = ("b", c.group_heads, t, c.head)
        entries = [
            CacheEntry(name=f"{part}_{i}", dtype="float32", axes=axes, update=Update.APPEND)
            for i in range(c.layers)
            for part in ("k", "v")
        ]
        if c.above:
            entries.append(
                CacheEntry(
                    name="consumed", dtype="int64", axes=("b", t), update=Update.APPEND, axis=-1
                )
            )
        return tuple(entries)

    def logits(
        self, x: Int64[Tensor, "b t"], label: Int64[Tensor, " b"] | None
    ) -> Float[Tensor, "b t v"]:
        """All conditionals of an event at once, by causal attention without a cache."""
        slots = torch.arange(x.shape[1], device=x.device)[None]
        tokens = x if self.first_position else torch.nn.functional.pad(x, (1, 0))[:, :-1]

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            c = self.config
            q, k, v = (part.unflatten(-1, (-1, c.head)).transpose(1, 2) for part in (q, k, v))
            y = torch.nn.functional.scaled_dot_product_attention(
                q,
                k,
                v,
                dropout_p=c.attention_rate if self.training else 0.0,
                is_causal=True,
                enable_gqa=c.heads != c.group_heads,
            )
            return y.transpose(1, 2).flatten(-2)

        logits = self._network(tokens, tokens, slots, label, attend)
        if self.first_position == 0:
            return logits
        return torch.nn.functional.pad(logits, (0, 0, 1, 0))[:, :-1]

    def extend(
        self,
        tokens: Int64[Tensor, "b s"],
        position: Int64[Tensor, " b"],
        cache: Cache,
        label: Int64[Tensor, " b"] | None,
    ) -> tuple[Float[Tensor, "b s v"], dict[str, Tensor]]:
        """Append the block to the cache; where there is no start symbol, positions begin at 1."""
        first = position - 1 if self.first_position else position
        slots = first[:, None] + torch.arange(tokens.shape[1], device=tokens.device)
        new = dict(cache)
        consumed = tokens
        if self.config.above:
            consumed = new["consumed"] = append(cache["consumed"], first, tokens)

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            y, new[f"k_{layer}"], new[f"v_{layer}"] = cached_attention(
                q, k, v, cache[f"k_{layer}"], cache[f"v_{layer}"], first
            )
            return y

        return self._network(tokens, consumed, slots, label, attend), new

    def _network(
        self,
        tokens: Int64[Tensor, "b s"],
        consumed: Int64[Tensor, "b n"],
        slots: Int64[Tensor, "#b s"],
        label: Int64[Tensor, " b"] | None,
        attend: Attend,
    ) -> Float[Tensor, "b s v"]:
        """Embed what is consumed at each slot, mix, and predict the next value.

        Args:
            tokens: consumed at the slots.
            consumed: consumed at slots 0 .. n - 1; slot 0 holds nothing where the start is learned.
            slots: of the tokens.
            label: class of each event.
            attend: mixes positions.
        """
        h = self._embed(tokens, slots, label)
        if self.above is not None:
            h = h + self.above(self._upper(consumed, slots))
        h, y = dropout(h, self.config.dropout, self.training), None
        rotary = None
        if self.config.positions == "rotary":
            rotary = (self.cosine[slots], self.sine[slots])
        for i, block in enumerate(self.blocks):
            h, y = block(h, y, lambda q, k, v, i=i: attend(i, q, k, v), rotary)
        _, h = self.norm(h, y)
        if self.head is not None:
            return self.head(h)
        rows = torch.nn.functional.linear(h.flatten(0, 1), self.token.weight)
        return rows.unflatten(0, h.shape[:2])

    def _embed(
        self,
        tokens: Int64[Tensor, "b s"],
        slots: Int64[Tensor, "#b s"],
        label: Int64[Tensor, " b"] | None,
    ) -> Float[Tensor, "b s d"]:
        if isinstance(self.config.start, int):
            tokens = torch.where(slots == 0, self.config.start, tokens)
        h = self.token(tokens)
        if self.start is not None:
            h = torch.where(slots[..., None] == 0, self.start.weight[0], h)
        if self.position is not None:
            h = h + self.position(slots)
        if self.label is not None:
            if label is None:
                raise InvalidInput(
                    f"label: expected one of {self.data.num_classes} classes, got none"
                )
            h = h + self.label(label)[:, None]
        return h

    def _upper(
        self, consumed: Int64[Tensor, "b n"], slots: Int64[Tensor, "#b s"]
    ) -> Int64[Tensor, "b s"]:
        """Value above each predicted pixel; `levels` in the first row, where there is none."""
        # Slot n predicts pixel n + first_position and consumed the pixel before that one.
        width = self.data.event_shape[1]
        source = slots - width + 1
        gathered = consumed.gather(1, source.clamp_min(0).expand(consumed.shape[0], -1))
        return torch.where(slots + self.first_position < width, self.data.levels, gathered)


def _table(rows: int, d: int, scale: float) -> nn.Embedding:
    table = nn.Embedding(rows, d)
    nn.init.normal_(table.weight, std=scale)
    return table
