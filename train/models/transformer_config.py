"""The configuration of a Transformer."""

from collections.abc import Iterator
from typing import Literal

from ancestral.train.models.configuration import (
    Count,
    Natural,
    NotNegative,
    Positive,
    Rate,
    configuration,
)
from ancestral.train.models.network import SequenceConfig

Biased = Literal["qkv", "out", "feed", "head", "norm"]
"""Maps that may have a bias; "norm" is LayerNorm."""


@configuration
class TransformerConfig(SequenceConfig):
    """Configuration of a Transformer; the attributes of `SequenceConfig` apply too.

    Attributes:
        layers: number of blocks.
        heads: number of query heads.
        kv_heads: number of key/value heads (grouped-query attention); None means heads.
        head_width: number of features of one head; None means width / heads.
        hidden: width inside the feed-forward part; None means 4 x width.
        positions: "learned", added to the input, or "rotary", applied to queries and keys.
        rotary_base: base of the rotary frequencies.
        rotary_width: number of features of a head that are rotated, the first ones; None means all.
        rotary_scaling: scaling of the rotary frequencies. () means none. (factor,) divides all of
            them. (factor, low, high, trained length) is Llama 3's: frequencies with fewer than
            `low` turns within the trained length are divided, those with more than `high` turns are
            not.
        window: number of slots that a query sees, including its own; None means all up to its own.
        windowed: layers that have the window; None means all.
        norm: "layer" (LayerNorm) or "rms" (RMSNorm), before each part and at the end.
        norm_epsilon: number added to the variance in norms.
        activation: activation of the feed-forward part; gelu_tanh is GPT-2's approximation,
            gelu_quick is ImageGPT's.
        bias: whether linear maps and LayerNorm have biases, or the names of those that do.
        head_norms: whether the queries and keys of each head are normalised, by RMSNorm.
        parallel: whether attention and the feed-forward part read the same residual stream;
            otherwise they run one after the other.
        tied: whether the output map is the transposed token embedding.
        start: "learned", the id of a start token, or None: x_0 must then be observed.
        attention_dropout: dropout rate of attention weights; None means dropout.
        smoothness: number of levels over which fresh embeddings and outputs of neighbouring levels
            are similar, for levels that are amounts; 0 draws each level independently.

    Raises:
        InvalidInput: a value is out of range, or fields contradict each other.

    References:
        See `Transformer`. Chen et al. (2023), arXiv:2306.15595 (linear scaling). Dubey et al.
        (2024), arXiv:2407.21783 (Llama 3's scaling). Dehghani et al. (2023), arXiv:2302.05442,
        section 2 (normalised queries and keys).
    """

    layers: Count = 4
    heads: Count = 4
    kv_heads: Count | None = None
    head_width: Count | None = None
    hidden: Count | None = None
    positions: Literal["learned", "rotary"] = "learned"
    rotary_base: Positive = 10_000.0
    rotary_width: Count | None = None
    rotary_scaling: tuple[Positive, ...] = ()
    window: Count | None = None
    windowed: tuple[Natural, ...] | None = None
    norm: Literal["layer", "rms"] = "layer"
    norm_epsilon: Positive = 1e-5
    activation: Literal["gelu", "gelu_tanh", "gelu_quick", "swiglu"] = "gelu"
    bias: bool | tuple[Biased, ...] = True
    head_norms: bool = False
    parallel: bool = False
    tied: bool = False
    start: Literal["learned"] | Natural | None = "learned"
    attention_dropout: Rate | None = None
    smoothness: NotNegative = 0.0

    @classmethod
    def gpt2(cls) -> "TransformerConfig":
        """Return the smallest GPT-2, for sequences of up to 1,024 of 50,257 tokens."""
        return cls(
            width=768,
            layers=12,
            heads=12,
            activation="gelu_tanh",
            bias=("qkv", "out", "feed", "norm"),
            tied=True,
            start=None,
        )

    @classmethod
    def llama(cls) -> "TransformerConfig":
        """Return the components of Llama; set the size with `dataclasses.replace`."""
        return cls(positions="rotary", norm="rms", activation="swiglu", bias=False)

    @classmethod
    def pixels(cls) -> "TransformerConfig":
        """Return settings for small images whose levels are amounts; set the size likewise."""
        return cls(above=True, attention_dropout=0.0, smoothness=2.0)

    def problems(self) -> Iterator[str]:
        """Yield a line for each contradiction between fields."""
        if self.tied and self.likelihood != "categorical":
            yield f"tied: expected the categorical likelihood, got {self.likelihood}"
        if self.heads % self.group_heads:
            yield f"heads: expected a multiple of kv_heads = {self.group_heads}, got {self.heads}"
        if self.head_width is None and self.width % self.heads:
            yield (
                f"width: expected a multiple of heads = {self.heads}, unless head_width is given, "
                f"got {self.width}"
            )
        scaling = self.rotary_scaling
        if self.positions != "rotary":
            if self.rotary_width is not None or scaling:
                yield (
                    f"rotary_width, rotary_scaling: expected positions 'rotary', got "
                    f"{self.positions!r}; leave them out"
                )
        elif self.rotated % 2 or not 2 <= self.rotated <= self.head_size:
            default = "" if self.rotary_width is not None else "None, which means "
            yield (
                f"rotary_width: expected an even number in 2 .. {self.head_size}, the width of a "
                f"head, got {default}{self.rotated}"
            )
        elif len(scaling) not in (0, 1, 4) or (len(scaling) == 4 and scaling[1] >= scaling[2]):
            yield (
                f"rotary_scaling: expected (), (factor,) or (factor, low, high, trained length), "
                f"low < high, got {scaling}"
            )
        if self.window is None and self.windowed is not None:
            yield f"windowed: expected None without a window, got {self.windowed}"
        if any(layer >= self.layers for layer in self.windowed or ()):
            yield f"windowed: expected layers 0 .. {self.layers - 1}, got {self.windowed}"

    def has_bias(self, part: Biased) -> bool:
        """Return whether a map has a bias."""
        return self.bias if isinstance(self.bias, bool) else part in self.bias

    def layer_window(self, layer: int, length: int) -> int | None:
        """Return the number of slots, of `length`, that a layer's query sees; None means all."""
        if self.window is None or self.window >= length:
            return None
        return self.window if self.windowed is None or layer in self.windowed else None

    @property
    def rotated(self) -> int:
        """Number of features of a head that are rotated."""
        return self.head_size if self.rotary_width is None else self.rotary_width

    @property
    def group_heads(self) -> int:
        """Number of key/value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def attention_rate(self) -> float:
        """Dropout rate of attention weights."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout

    @property
    def head_size(self) -> int:
        """Number of features of one head."""
        return self.width // self.heads if self.head_width is None else self.head_width

    @property
    def inner(self) -> int:
        """Width inside the feed-forward part."""
        return 4 * self.width if self.hidden is None else self.hidden
