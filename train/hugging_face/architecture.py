"""What a kind of checkpoint is: which configuration its fields are, which tensors its weights."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from ancestral.train.hugging_face.differences import Shape
from ancestral.train.hugging_face.fields import Fields
from ancestral.train.hugging_face.mapping import Entry
from ancestral.train.models.transformer_config import TransformerConfig


@dataclass(frozen=True, slots=True)
class Network:
    """What a config.json says.

    Attributes:
        config: of the Transformer; its start is "learned" where the checkpoint has a symbol of its
            own, else none as yet.
        levels: number of values of a position.
        context: number of positions.
        image: height and width of events that are images.
        query_factors: what each layer's queries are multiplied by; () is 1.
    """

    config: TransformerConfig
    levels: int
    context: int
    image: Shape | None = None
    query_factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Names:
    """How a folder names tensors.

    Attributes:
        prefix: of all but the output map's; a folder of the body alone has none.
        head: of the output map.
    """

    prefix: str
    head: str


@dataclass(frozen=True, slots=True)
class Architecture:
    """A kind of checkpoint.

    Attributes:
        read: the fields of its config.json; a CheckpointError with all that is wrong.
        entries: (network, length, names) -> every tensor of a Transformer over so many positions.
        prefix: of names; a folder of the body alone has none.
        ignored: names, without the prefix, of tensors that hold no weights.
        embedding: name of the tokens' vectors, without the prefix.
        heads: names of the output map, the usual one first; where it is the embedding it may be
            stored too.
        bos: id of the start token where config.json has none.
        eos: id of the token that ends a text where config.json has none.
    """

    read: Callable[[Fields], Network]
    entries: Callable[[Network, int, Names], list[Entry]]
    prefix: str
    ignored: re.Pattern[str]
    embedding: str
    heads: tuple[str, ...]
    bos: int | None
    eos: int | None


Activation = Literal["gelu", "gelu_tanh", "gelu_quick"]
ACTIVATIONS: Mapping[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_python_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_accurate": "gelu_tanh",
    "quick_gelu": "gelu_quick",
}
"""Names in transformers of the functions of a feed-forward part without gates; some are one."""
