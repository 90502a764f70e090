"""The shape of a Transformer: its configuration, checked."""

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
"""Maps that may have a bias; norm is LayerNorm."""


@configuration
class TransformerConfig(SequenceConfig):
    """Shape of the network; what it models is in the DataSpec.

    Attributes:
        layers: number of blocks.
        heads: number of query heads.
        kv_heads: number of key/value heads (grouped-query attention); None is heads.
        head_width: of one head; None is width / heads.
        hidden: width inside the feed-forward part; None is 4 width.
        positions: learned, added to the input; or rotary, applied to queries and keys.
        rotary_base: of the rotary frequencies.
        rotary_width: features of a head that are rotated, the first ones; None is all.
        rotary_scaling: of the frequencies: none; (factor,), by which all are divided; or Llama 3's
            (factor, low, high, trained length): those that turn fewer than `low` times within that
            length are divided, those that turn more than `high` times are not.
        window: slots that a query sees, its own included; None is all up to its own.
        windowed: the layers that have the window; None is all.
        norm: LayerNorm or RMSNorm, before each part and at the end.
        norm_epsilon: added to the variance.
        activation: of the feed-forward part; gelu_tanh is GPT-2's approximation, gelu_quick
            ImageGPT's.
        bias: whether linear maps and LayerNorm have biases; or which of them.
        head_norms: whether each head's queries and keys are normalised, by RMSNorm.
        parallel: whether attention and feed-forward part read the same residual stream, side by
            side; else the one after the other.
        tied: whether the output map is the token embedding, transposed.
        start: "learned", the id of a start token, or None: x_0 must then be observed.
        attention_dropout: rate on attention weights, in training; None is dropout.
        smoothness: number of levels over which the fresh embeddings and outputs of neighbouring
            levels are alike, for levels that are amounts; 0 draws each level by itself.
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
        """The smallest GPT-2, for sequences of up to 1,024 values of 50,257 tokens."""
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
        """The parts of a Llama; `dataclasses.replace` gives it a size."""
        return cls(positions="rotary", norm="rms", activation="swiglu", bias=False)

    @classmethod
    def pixels(cls) -> "TransformerConfig":
        """For small images whose levels are amounts; `dataclasses.replace` gives it a size."""
        return cls(above=True, attention_dropout=0.0, smoothness=2.0)

    def problems(self) -> Iterator[str]:
        """What is wrong between fields."""
        if self.tied and self.likelihood != "categorical":
            yield f"tied: expected the categorical likelihood, got {self.likelihood}"
        if self.heads % self.group_heads:
            yield (
                f"expected heads to be a multiple of kv_heads, got {self.heads} and "
                f"{self.group_heads}"
            )
        if self.head_width is None and self.width % self.heads:
            yield (
                f"expected width to be a multiple of heads (or head_width to be given), "
                f"got {self.width} and {self.heads}"
            )
        scaling = self.rotary_scaling
        if self.positions != "rotary":
            if self.rotary_width is not None or scaling:
                yield (
                    f"rotary_width and rotary_scaling are of rotary positions, got "
                    f"{self.positions} ones"
                )
        elif self.rotated % 2 or not 2 <= self.rotated <= self.head_size:
            yield (
                f"rotary needs an even head_width, and a rotary_width that is even and at most "
                f"that, got {self.head_size} and {self.rotary_width}"
            )
        elif len(scaling) not in (0, 1, 4) or (len(scaling) == 4 and scaling[1] >= scaling[2]):
            yield (
                f"rotary_scaling: expected (), (factor,) or (factor, low, high, trained length), "
                f"low < high, got {scaling}"
            )
        if self.window is None and self.windowed is not None:
            yield f"windowed: expected a window too, got only {self.windowed}"
        if any(layer >= self.layers for layer in self.windowed or ()):
            yield f"windowed: expected layers 0 .. {self.layers - 1}, got {self.windowed}"

    def has_bias(self, part: Biased) -> bool:
        """Whether a map has a bias."""
        return self.bias if isinstance(self.bias, bool) else part in self.bias

    def layer_window(self, layer: int, length: int) -> int | None:
        """Slots that a query of a layer sees, of so many in all; None where it is all."""
        if self.window is None or self.window >= length:
            return None
        return self.window if self.windowed is None or layer in self.windowed else None

    @property
    def rotated(self) -> int:
        """Features of a head that are rotated."""
        return self.head_size if self.rotary_width is None else self.rotary_width

    @property
    def group_heads(self) -> int:
        """Number of key/value heads."""
        return self.heads if self.kv_heads is None else self.kv_heads

    @property
    def attention_rate(self) -> float:
        """Rate of dropout on attention weights."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout

    @property
    def head_size(self) -> int:
        """Width of one head."""
        return self.width // self.heads if self.head_width is None else self.head_width

    @property
    def inner(self) -> int:
        """Width inside the feed-forward part."""
        return 4 * self.width if self.hidden is None else self.hidden
