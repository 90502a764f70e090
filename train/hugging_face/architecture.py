"""How a kind of checkpoint is read: its configuration fields and the names of its tensors."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from ancestral.train.hugging_face.fields import Fields
from ancestral.train.hugging_face.stored_tensors import Entry, Shape
from ancestral.train.models.transformer_config import Biased, TransformerConfig


@dataclass(frozen=True, slots=True)
class Network:
    """The network that a config.json describes.

    Attributes:
        config: configuration of the Transformer; `start` is "learned" if the checkpoint has its own
            start symbol, and otherwise not yet set.
        levels: number of values at each position.
        context: number of positions.
        image: height and width of events that are images; None for other events.
        query_factors: factor of the queries of each layer; () means 1.
    """

    config: TransformerConfig
    levels: int
    context: int
    image: Shape | None = None
    query_factors: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A kind of checkpoint; names of tensors are given without the prefix and the ending.

    Attributes:
        read: function that reads the fields of a config.json; its CheckpointError lists all
            problems.
        prefix: prefix of the names; folders with only the body of the model have none.
        ignored: pattern of the names, without prefix, of tensors that hold no weights.
        embedding: name of the token embedding.
        norm: name of the last norm.
        layer: name of the blocks, before their number.
        attention_norm: name of the norm before attention, within a block; so are the names below.
        qkv: names of the maps to queries, keys and values; a single name if one map makes all.
        out: name of the map after attention.
        feed_norm: name of the norm before the feed-forward part.
        up: names of the maps into the feed-forward part, that of a gate first.
        down: name of the map out of the feed-forward part.
        head_norms: names of the norms of queries and of keys, for networks that have them.
        position: name of the position embedding; None for rotary positions.
        transposed: whether maps are stored [out, in].
        by_head: whether the features of a single qkv map are q, k and v of one head after another.
        heads: full names of the output map, the usual one first. A tied output map may be stored
            too.
        bos: id of the start token if config.json has none.
        eos: id of the token that ends a text if config.json has none.
    """

    read: Callable[[Fields], Network]
    prefix: str
    ignored: re.Pattern[str]
    embedding: str
    norm: str
    layer: str
    attention_norm: str
    qkv: tuple[str, ...]
    out: str
    feed_norm: str
    up: tuple[str, ...]
    down: str
    head_norms: tuple[str, ...] = ()
    position: str | None = None
    transposed: bool = True
    by_head: bool = False
    heads: tuple[str, ...] = ("lm_head.weight",)
    bos: int | None = None
    eos: int | None = None

    def entries(self, network: Network, length: int, prefix: str, head: str) -> list[Entry]:
        """Return the entries of all tensors of a Transformer.

        A network with its own start symbol stores it as the last row of the embedding.

        Args:
            network: network that config.json describes.
            length: number of positions of an event.
            prefix: prefix of the names in the folder, except for the output map.
            head: name of the output map.
        """
        config, v, d = network.config, network.levels, network.config.width
        own_start = config.start == "learned"
        embedding = {f"{prefix}{self.embedding}.weight": (v + own_start, d)}
        entries = [Entry("inputs.token.weight", embedding, rows=(0, v) if own_start else None)]
        if own_start:
            entries.append(Entry("inputs.start.weight", embedding, rows=(v, v + 1)))
        if self.position is not None:
            position = {f"{prefix}{self.position}.weight": (network.context, d)}
            entries.append(Entry("inputs.position.weight", position, rows=(0, length)))
        if not config.tied:
            entries.append(Entry("head.weight", {head: (v, d)}, transposed=True))
        for i, factor in enumerate(network.query_factors or (1.0,) * config.layers):
            entries += _block(self, config, f"blocks.{i}", f"{prefix}{self.layer}.{i}", factor)
        return entries + _norm(config, "norm", f"{prefix}{self.norm}", d)


def _block(
    layout: Architecture, config: TransformerConfig, ours: str, theirs: str, factor: float
) -> list[Entry]:
    """Return the entries of one block; its queries are multiplied by the factor."""
    d, inner = config.width, config.inner
    queries, groups = config.heads * config.head_size, config.group_heads * config.head_size
    entries: list[Entry] = []

    def add(part: Biased, name: str, maps: tuple[str, ...], features: int, *outs: int) -> None:
        """Add a map from `features` to `outs`, made of as many stored maps or of one."""
        outs = outs if len(maps) > 1 else (sum(outs),)
        by_head = layout.by_head and part == "qkv"
        for each in ("weight", "bias") if config.has_bias(part) else ("weight",):
            shapes = [(out,) if each == "bias" else (out, features) for out in outs]
            entries.append(
                Entry(
                    f"{ours}.{name}.{each}",
                    {
                        f"{theirs}.{their}.{each}": shape if layout.transposed else shape[::-1]
                        for their, shape in zip(maps, shapes, strict=True)
                    },
                    transposed=layout.transposed,
                    heads=config.heads if by_head else None,
                    scaled=(queries, factor) if part == "qkv" and factor != 1.0 else None,
                )
            )

    def add_norm(name: str, their: str, features: int = d) -> None:
        entries.extend(_norm(config, f"{ours}.{name}", f"{theirs}.{their}", features))

    add_norm("attention_norm", layout.attention_norm)
    add("qkv", "qkv", layout.qkv, d, queries, groups, groups)
    if config.head_norms:
        for name, their in zip(("q_norm", "k_norm"), layout.head_norms, strict=True):
            add_norm(name, their, config.head_size)
    add("out", "out", (layout.out,), queries, d)
    add_norm("feed_norm", layout.feed_norm)
    add("feed", "up", layout.up, d, *[inner] * len(layout.up))
    add("feed", "down", (layout.down,), inner, d)
    return entries


def _norm(config: TransformerConfig, ours: str, theirs: str, features: int) -> list[Entry]:
    return [
        Entry(f"{ours}.{name}", {f"{theirs}.{name}": (features,)})
        for name in (("weight", "bias") if config.has_bias("norm") else ("weight",))
    ]
