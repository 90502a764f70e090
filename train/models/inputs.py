"""What a network reads at each position before positions are mixed, and networks that do so.

The value drawn before (or the start symbol), the position, the label, and for images the value
above: a sum of learned vectors, each from a table of its own.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import neighbours
from ancestral.signature import CacheEntry, Update
from ancestral.train.models.autoregressive import Events, Features, Label, Positions, Tokens
from ancestral.train.models.layers import embedding
from ancestral.train.models.network import ConfiguredNetwork, SequenceConfig
from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.embed import Tables, embed, slots_from

Start = Literal["learned"] | int | None
"""A learned symbol, the id of a token, or none: then x_0 must be observed."""


class Inputs(nn.Module):
    """Embeddings of what is consumed; slot n predicts position n, or n + 1 without a start."""

    source: Tensor

    def __init__(
        self, config: SequenceConfig, data: DataSpec, *, positions: bool, start: Start
    ) -> None:
        """Draw fresh tables from torch's global generator.

        Args:
            config: of the network.
            data: the space of events.
            positions: whether each position has a vector.
            start: what is consumed first.

        Raises:
            InvalidInput: the value above is asked of events that are no images, the start token is
                no level, or a label is optional where there is none.
        """
        super().__init__()
        if config.above and len(data.event_shape) == 1:
            raise InvalidInput(f"above: expected events [height, width], got {data.event_shape}")
        if isinstance(start, int) and not 0 <= start < data.levels:
            raise InvalidInput(f"start: expected a level below {data.levels}, got {start}")
        if config.label_optional and data.num_classes is None:
            raise InvalidInput("label_optional: the data has no labels")
        self.data, self.start_token = data, start
        self.first_position = 1 if start is None else 0
        width, scale = config.width, config.width**-0.5
        self.token = embedding(data.levels, width, scale)
        self.start = embedding(1, width, scale) if start == "learned" else None
        classes = (data.num_classes or 0) + config.label_optional
        self.label = embedding(classes, width, scale) if classes else None
        self.above = embedding(data.levels + 1, width, scale) if config.above else None
        self.position = embedding(data.length, width, scale) if positions else None
        if config.above:
            # Before the places are looked for, so that too many are refused before they are.
            self.register_buffer("source", torch.zeros(data.length))
            self.register_buffer("source", self._source())

    def _source(self) -> Int64[Tensor, " n"]:
        """Slot that consumed the value above what each slot predicts; -1 where there is none."""
        shape, first = self.data.event_shape, self.first_position
        offset = (-1, *([0] * (len(shape) - 1)))
        found = neighbours(self.data.order, shape, [offset])[first:, 0]
        # Slot n consumed the value at position n + first - 1.
        slots = [-1 if position < 0 else position + 1 - first for position in found.tolist()]
        return torch.tensor(slots + [-1] * first)

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """The consumed tokens, where the value above is fed."""
        if self.above is None:
            return ()
        return (consumed_entry(self.data),)

    def forward(
        self,
        tokens: Tokens,
        consumed: Int64[Tensor, "b n"],
        slots: Int64[Tensor, "#b s"],
        label: Label,
    ) -> Features:
        """The sum of the vectors.

        Args:
            tokens: consumed at the slots.
            consumed: consumed at slots 0 .. n - 1; slot 0 holds nothing where the start is learned.
            slots: of the tokens.
            label: class of each event.

        Raises:
            InvalidInput: no label to a model of p(x | y).
        """
        tables = Tables(
            token=self.token,
            start=self.start,
            start_token=self.start_token if isinstance(self.start_token, int) else None,
            position=self.position,
            label=self.label,
            above=self.above,
            source=None if self.above is None else self.source,
        )
        return embed(tokens, consumed, slots, checked_label(label, self.data), tables)

    def parallel(self, x: Events, label: Label) -> Float[Tensor, "b t d"]:
        """At all slots of an event."""
        tokens = x if self.first_position else shifted(x)
        slots = torch.arange(x.shape[1], device=x.device)[None]
        return self(tokens, tokens, slots, label)

    def extend(
        self, tokens: Tokens, first: Positions, cache: dict[str, Tensor], label: Label
    ) -> Features:
        """At the slots from `first` on; what is consumed is appended to the cache, in place.

        Args:
            tokens: consumed at these slots.
            first: slot of the first token of each row.
            cache: the entries of cache_spec among others; they are replaced by the new ones.
            label: class of each event.
        """
        slots = slots_from(first, tokens)
        consumed = tokens
        if self.above is not None:
            consumed = cache["consumed"] = append(cache["consumed"], first, tokens)
        return self(tokens, consumed, slots, label)


class SequenceNetwork(ConfiguredNetwork):
    """A network that reads what `Inputs` embeds."""

    def __init__(
        self, config: SequenceConfig, data: DataSpec, *, positions: bool, start: Start = "learned"
    ) -> None:
        """Draw fresh embeddings from torch's global generator.

        Raises:
            InvalidInput: the configuration asks of the data what they have not (see Inputs).
        """
        super().__init__(config, data)
        self.inputs = Inputs(config, data, positions=positions, start=start)
        self.first_position = self.inputs.first_position


def shifted(x: Events) -> Events:
    """What is consumed along an event where there is a start symbol: each value a place later."""
    return torch.nn.functional.pad(x, (1, 0))[:, :-1]


def consumed_entry(data: DataSpec) -> CacheEntry:
    """The cache of all tokens that were consumed."""
    axes = ("b", data.length)
    return CacheEntry(name="consumed", dtype="int64", axes=axes, update=Update.APPEND, axis=-1)


def checked_label(label: Label, data: DataSpec) -> Label:
    """The label that a model of these data reads: none where they have no classes.

    Raises:
        InvalidInput: no label to a model of p(x | y).
    """
    if data.num_classes is not None and label is None:
        raise InvalidInput(f"label: expected one of {data.num_classes} classes, got none")
    return None if data.num_classes is None else label
