"""A causal Transformer whose configurations include GPT-2, Llama and small image models.

References:
    Radford et al. (2019), Language models are unsupervised multitask learners (GPT-2): learned
    positions, LayerNorm before each part, GELU. Touvron et al. (2023), arXiv:2302.13971 (Llama):
    rotary positions (arXiv:2104.09864), RMSNorm (arXiv:1910.07467), SwiGLU (arXiv:2002.05202).
    Chen et al. (2020), Generative pretraining from pixels: images as sequences.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm, rms_norm, silu

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.signature import CacheEntry
from ancestral.train.models.autoregressive import AutoregressiveModel, Cache
from ancestral.train.models.dropout import dropout
from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.cached_attention import cached_attention

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, q [b, s, h d], k [b, s, g d], v [b, s, g d]) -> y [b, s, h d]."""


@dataclass(frozen=True, slots=True)
class TransformerConfig:
    """Shape of the network; what it models stands in the DataSpec.

    Attributes:
        width: of the residual stream.
        layers: number of blocks.
        heads: number of query heads.
        kv_heads: number of key/value heads (grouped-query attention); None is heads.
        head_width: of one head; None is width / heads.
        hidden: width inside the feed-forward part; None is 4 width.
        positions: learned, added to the input; or rotary, applied to queries and keys.
        rotary_base: of the rotary frequencies.
        norm: LayerNorm or RMSNorm, before each part and at the end.
        norm_epsilon: added to the variance.
        activation: of the feed-forward part; gelu_tanh is GPT-2's approximation.
        bias: whether linear maps and LayerNorm have biases.
        tied: whether the output map is the token embedding, transposed.
        start: "learned", the id of a start token, or None: x_0 must then be observed.
        above: whether images feed the upper neighbour beside the previous value.
        dropout: rate on embeddings and residual branches, in training.
        attention_dropout: rate on attention weights, in training; None is dropout.
        smoothness: number of levels over which the fresh embeddings and outputs of neighbouring
            levels are alike, for levels that are amounts; 0 draws each level by itself.
    """

    width: int = 64
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None
    head_width: int | None = None
    hidden: int | None = None
    positions: Literal["learned", "rotary"] = "learned"
    rotary_base: float = 10_000.0
    norm: Literal["layer", "rms"] = "layer"
    norm_epsilon: float = 1e-5
    activation: Literal["gelu", "gelu_tanh", "swiglu"] = "gelu"
    bias: bool = True
    tied: bool = False
    start: Literal["learned"] | int | None = "learned"
    above: bool = False
    dropout: float = 0.0
    attention_dropout: float | None = None
    smoothness: float = 0.0

    def __post_init__(self) -> None:
        for name in ("width", "layers", "heads", "group_heads", "head", "inner"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InvalidInput(
                    f"TransformerConfig.{name}: expected an integer >= 1, got {value}"
                )
        if self.heads % self.group_heads:
            raise InvalidInput(
                f"TransformerConfig: expected heads to be a multiple of kv_heads, "
                f"got {self.heads} and {self.group_heads}"
            )
        if self.head_width is None and self.width % self.heads:
            raise InvalidInput(
                f"TransformerConfig: expected width to be a multiple of heads (or head_width to be "
                f"given), got {self.width} and {self.heads}"
            )
        if self.positions == "rotary" and self.head % 2:
            raise InvalidInput(
                f"TransformerConfig: rotary needs an even head_width, got {self.head}"
            )
        if not 0 <= self.smoothness < float("inf"):
            raise InvalidInput(
                f"TransformerConfig.smoothness: expected a number >= 0, got {self.smoothness}"
            )
        for name in ("dropout", "attention_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidInput(
                    f"TransformerConfig.{name}: expected [0, 1), got {getattr(self, name)}"
                )

    @property
    def group_heads(self) -> int:
        """Number of key/value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def attention_rate(self) -> float:
        """Rate of dropout on attention weights."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout

    @property
    def head(self) -> int:
        """Width of one head."""
        return self.width // self.heads if self.head_width is None else self.head_width

    @property
    def inner(self) -> int:
        """Width inside the feed-forward part."""
        return 4 * self.width if self.hidden is None else self.hidden


class Linear(nn.Module):
    """x W + b with W stored [d_in, d_out], as the exported graphs read it."""

    def __init__(self, d_in: int, d_out: int, bias: bool, scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(d_in, d_out) * (scale * d_in**-0.5))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None

    def forward(self, x: Float[Tensor, "*b i"]) -> Float[Tensor, "*b o"]:
        """Apply the map to the last axis."""
        y = x @ self.weight
        return y if self.bias is None else y + self.bias


class Norm(nn.Module):
    """LayerNorm or RMSNorm over the last axis."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.kind, self.epsilon = config.norm, config.norm_epsilon
        self.weight = nn.Parameter(torch.ones(config.width))
        with_bias = config.bias and config.norm == "layer"
        self.bias = nn.Parameter(torch.zeros(config.width)) if with_bias else None

    def forward(self, x: Float[Tensor, "*b d"]) -> Float[Tensor, "*b d"]:
        """Normalise the last axis."""
        shape = (self.weight.shape[0],)
        if self.kind == "rms":
            return rms_norm(x, shape, self.weight, self.epsilon)
        return layer_norm(x, shape, self.weight, self.bias, self.epsilon)


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
        attend: Callable[[Tensor, Tensor, Tensor], Tensor],
        rotary: tuple[Tensor, Tensor] | None,
    ) -> Float[Tensor, "b s d"]:
        """One block; `attend` mixes positions, all else is per position."""
        c = self.config
        width, group = c.heads * c.head, c.group_heads * c.head
        q, k, v = self.qkv(self.attention_norm(h)).split([width, group, group], dim=-1)
        if rotary is not None:
            q, k = (_rotate(part.unflatten(-1, (-1, c.head)), *rotary) for part in (q, k))
        y = self.out(attend(q, k, v))
        h = h + dropout(y, c.dropout, self.training)
        return h + dropout(self._feed(self.feed_norm(h)), c.dropout, self.training)

    def _feed(self, h: Float[Tensor, "b s d"]) -> Float[Tensor, "b s d"]:
        inner = self.up(h)
        match self.config.activation:
            case "swiglu":
                gate, value = inner.chunk(2, dim=-1)
                return self.down(silu(gate) * value)
            case "gelu_tanh":
                return self.down(gelu(inner, approximate="tanh"))
            case "gelu":
                return self.down(gelu(inner))


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
            angles = _angles(data.length, config.head, config.rotary_base)
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

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """Keys and values of every layer; the consumed tokens where the upper neighbour is fed."""
        c, t = self.config, self.data.length
        axes = ("b", c.group_heads, t, c.head)
        entries = [
            CacheEntry(name=f"{part}_{i}", dtype="float32", axes=axes)
            for i in range(c.layers)
            for part in ("k", "v")
        ]
        if c.above:
            entries.append(CacheEntry(name="consumed", dtype="int64", axes=("b", t), axis=-1))
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
        first = position - self.first_position
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
        h = dropout(h, self.config.dropout, self.training)
        rotary = None
        if self.config.positions == "rotary":
            rotary = (self.cosine[slots], self.sine[slots])
        for i, block in enumerate(self.blocks):
            h = block(h, lambda q, k, v, i=i: attend(i, q, k, v), rotary)
        h = self.norm(h)
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
        # Slot n predicts pixel p = n + first_position; slot m consumed pixel m - 1 + first_position.
        width = self.data.event_shape[1]
        source = slots - width + 1
        gathered = consumed.gather(1, source.clamp_min(0).expand(consumed.shape[0], -1))
        return torch.where(slots + self.first_position < width, self.data.levels, gathered)


def _table(rows: int, d: int, scale: float) -> nn.Embedding:
    table = nn.Embedding(rows, d)
    nn.init.normal_(table.weight, std=scale)
    return table


def _angles(length: int, head: int, base: float) -> Float[Tensor, "t half"]:
    frequencies = base ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
    return torch.arange(length, dtype=torch.float64)[:, None] * frequencies


def _rotate(
    x: Float[Tensor, "b s h d"],
    cosine: Float[Tensor, "#b s half"],
    sine: Float[Tensor, "#b s half"],
) -> Float[Tensor, "b s hd"]:
    """Rotate the pairs (x_i, x_{i + d/2}) by the angles of their slots (Llama's pairing)."""
    first, second = x.chunk(2, dim=-1)
    cosine, sine = cosine[:, :, None].to(x.dtype), sine[:, :, None].to(x.dtype)
    rotated = torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1)
    return rotated.flatten(-2)


def config_from_json(values: Mapping[str, object]) -> TransformerConfig:
    """The configuration of a manifest.

    Raises:
        InvalidInput: an unknown or ill-typed field.
    """
    try:
        return TransformerConfig(**values)  # type: ignore[arg-type]
    except TypeError as error:
        raise InvalidInput(f"transformer config: {error}") from error
