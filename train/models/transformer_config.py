"""The shape of a Transformer: its configuration, checked, and back from JSON."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from ancestral.errors import InvalidInput
from ancestral.train.likelihoods.choice import LikelihoodName, check

Biased = Literal["qkv", "out", "feed", "head", "norm"]
"""Maps that may have a bias; norm is LayerNorm."""
_CHOICES = {
    "positions": ("learned", "rotary"),
    "norm": ("layer", "rms"),
    "activation": ("gelu", "gelu_tanh", "gelu_quick", "swiglu"),
}


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
        above: whether images feed the upper neighbour beside the previous value.
        dropout: rate on embeddings and residual branches, in training.
        attention_dropout: rate on attention weights, in training; None is dropout.
        smoothness: number of levels over which the fresh embeddings and outputs of neighbouring
            levels are alike, for levels that are amounts; 0 draws each level by itself.
        likelihood: categorical, or logistic_mixture for levels that are amounts.
        components: of the mixture.
        label_optional: whether there is a vector for "no label", so that p(x) is modelled too.
    """

    width: int = 64
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None
    head_width: int | None = None
    hidden: int | None = None
    positions: Literal["learned", "rotary"] = "learned"
    rotary_base: float = 10_000.0
    rotary_width: int | None = None
    rotary_scaling: tuple[float, ...] = ()
    window: int | None = None
    windowed: tuple[int, ...] | None = None
    norm: Literal["layer", "rms"] = "layer"
    norm_epsilon: float = 1e-5
    activation: Literal["gelu", "gelu_tanh", "gelu_quick", "swiglu"] = "gelu"
    bias: bool | tuple[Biased, ...] = True
    head_norms: bool = False
    parallel: bool = False
    tied: bool = False
    start: Literal["learned"] | int | None = "learned"
    above: bool = False
    dropout: float = 0.0
    attention_dropout: float | None = None
    smoothness: float = 0.0
    likelihood: LikelihoodName = "categorical"
    components: int = 10
    label_optional: bool = False

    def __post_init__(self) -> None:
        self._check_values()
        check(self.likelihood, self.components)
        if self.tied and self.likelihood != "categorical":
            raise InvalidInput("TransformerConfig.tied: expected the categorical likelihood")
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
        self._check_rotary()
        self._check_windows()
        if not 0 <= self.smoothness < float("inf"):
            raise InvalidInput(
                f"TransformerConfig.smoothness: expected a number >= 0, got {self.smoothness}"
            )
        for name in ("dropout", "attention_rate"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidInput(
                    f"TransformerConfig.{name}: expected [0, 1), got {getattr(self, name)}"
                )

    def _check_values(self) -> None:
        for name, choices in _CHOICES.items():
            got = getattr(self, name)
            if got not in choices:
                raise InvalidInput(
                    f"TransformerConfig.{name}: expected one of {choices}, got {got!r}"
                )
        if not isinstance(self.bias, bool) and not set(self.bias) <= set(get_args(Biased)):
            raise InvalidInput(
                f"TransformerConfig.bias: expected a boolean, or some of {get_args(Biased)}, "
                f"got {self.bias!r}"
            )
        start = self.start
        if not (start is None or start == "learned" or type(start) is int):
            raise InvalidInput(f"start: expected 'learned', a token id or None, got {start!r}")
        for name in ("norm_epsilon", "rotary_base"):
            if not 0 < getattr(self, name) < math.inf:
                raise InvalidInput(
                    f"TransformerConfig.{name}: expected a number > 0, got {getattr(self, name)}"
                )

    def _check_rotary(self) -> None:
        if self.positions != "rotary":
            if self.rotary_width is not None or self.rotary_scaling:
                raise InvalidInput(
                    f"TransformerConfig: rotary_width and rotary_scaling are of rotary positions, "
                    f"got {self.positions} ones"
                )
            return
        if self.rotated % 2 or not 2 <= self.rotated <= self.head:
            raise InvalidInput(
                f"TransformerConfig: rotary needs an even head_width, and a rotary_width that is "
                f"even and at most that, got {self.head} and {self.rotary_width}"
            )
        scaling = self.rotary_scaling
        sound = len(scaling) in (0, 1, 4) and all(0 < each < math.inf for each in scaling)
        if not sound or (len(scaling) == 4 and scaling[1] >= scaling[2]):
            raise InvalidInput(
                f"TransformerConfig.rotary_scaling: expected (), (factor,) or (factor, low, high, "
                f"trained length), numbers > 0 and low < high, got {scaling}"
            )

    def _check_windows(self) -> None:
        if self.window is None:
            if self.windowed is not None:
                raise InvalidInput(
                    f"TransformerConfig.windowed: expected a window too, got {self.windowed} alone"
                )
            return
        if type(self.window) is not int or self.window < 1:
            raise InvalidInput(
                f"TransformerConfig.window: expected an integer >= 1, got {self.window}"
            )
        if any(layer not in range(self.layers) for layer in self.windowed or ()):
            raise InvalidInput(
                f"TransformerConfig.windowed: expected layers 0 .. {self.layers - 1}, "
                f"got {self.windowed}"
            )

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
        return self.head if self.rotary_width is None else self.rotary_width

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
