"""The embeddings that a sequence network reads, and the base class of such networks.

At each position the network reads a sum of learned vectors: of the previous value (or the start
symbol), the position, the label and, for images, the value above.
"""

from abc import abstractmethod
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from ancestral.dataspec import DataSpec
from ancestral.errors import InvalidInput
from ancestral.ordering import neighbours
from ancestral.signature import CacheEntry, Update
from ancestral.train.models.autoregressive import (
    Cache,
    Events,
    Extended,
    Features,
    Label,
    Positions,
    Tokens,
)
from ancestral.train.models.layers import embedding
from ancestral.train.models.network import ConfiguredNetwork, SequenceConfig
from ancestral.triton_kernels.append import append
from ancestral.triton_kernels.embed import Tables, embed, slots_from

Start = Literal["learned"] | int | None
"""A learned symbol, the id of a token, or None: x_0 must then be observed."""


class Inputs(nn.Module):
    """Embeddings of consumed values; slot n predicts position n (n + 1 without a start symbol)."""

    source: Tensor

    def __init__(
        self, config: SequenceConfig, data: DataSpec, *, positions: bool, start: Start
    ) -> None:
        """Draw fresh tables from torch's global generator.

        Args:
            config: configuration of the network.
            data: space of the events.
            positions: whether each position has a learned vector.
            start: symbol that is consumed first.

        Raises:
            InvalidInput: `above` is set for events that are not images, the start token is not a
                level, or `label_optional` is set for data without labels.
        """
        super().__init__()
        if config.above and len(data.event_shape) == 1:
            raise InvalidInput(f"above: expected events [height, width], got {data.event_shape}")
        if isinstance(start, int) and not 0 <= start < data.levels:
            raise InvalidInput(f"start: expected a level below {data.levels}, got {start}")
        if config.label_optional and data.num_classes is None:
            raise InvalidInput("label_optional: expected False for data without labels, got True")
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
            # A placeholder first, so that an event that is too long is refused before the search.
            self.register_buffer("source", torch.zeros(data.length))
            self.register_buffer("source", self._source())

    def _source(self) -> Int64[Tensor, " n"]:
        """Return the slot that consumed the value above each predicted one; -1 if there is none."""
        shape, first = self.data.event_shape, self.first_position
        offset = (-1, *([0] * (len(shape) - 1)))
        found = neighbours(self.data.order, shape, [offset])[first:, 0]
        # Slot n consumed the value at position n + first - 1.
        slots = [-1 if position < 0 else position + 1 - first for position in found.tolist()]
        return torch.tensor(slots + [-1] * first)

    @property
    def cache_spec(self) -> tuple[CacheEntry, ...]:
        """The consumed tokens, if the value above is read."""
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
        """Return the sum of the vectors.

        Args:
            tokens: values consumed at the slots, [b, s].
            consumed: values consumed at slots 0 .. n - 1, [b, n]; slot 0 is unused for a learned
                start.
            slots: slots of the tokens, [b, s] or [1, s].
            label: class of each event, [b]; None for data without labels.

        Raises:
            InvalidInput: the data have labels and `label` is None.
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
        """Return the features at all slots of an event."""
        tokens = x if self.first_position else shifted(x)
        slots = torch.arange(x.shape[1], device=x.device)[None]
        return self(tokens, tokens, slots, label)

    def extend(
        self, tokens: Tokens, first: Positions, cache: dict[str, Tensor], label: Label
    ) -> Features:
        """Return the features at the slots from `first` on; add the tokens to the cache, in place.

        Args:
            tokens: values consumed at these slots, [b, s].
            first: slot of the first token of each row, [b].
            cache: dict with the entries of cache_spec, which are replaced by the new ones.
            label: class of each event, [b]; None for data without labels.
        """
        slots = slots_from(first, tokens)
        consumed = tokens
        if self.above is not None:
            consumed = cache["consumed"] = append(cache["consumed"], first, tokens)
        return self(tokens, consumed, slots, label)


class SequenceNetwork(ConfiguredNetwork):
    """A network that reads the features of `Inputs`."""

    def __init__(
        self, config: SequenceConfig, data: DataSpec, *, positions: bool, start: Start = "learned"
    ) -> None:
        """Draw fresh embeddings from torch's global generator.

        Raises:
            InvalidInput: the configuration does not fit the data (see `Inputs`).
        """
        super().__init__(config, data)
        self.inputs = Inputs(config, data, positions=positions, start=start)
        self.first_position = self.inputs.first_position

    def extend(self, tokens: Tokens, position: Positions, cache: Cache, label: Label) -> Extended:
        """Predict from the features of `_extended`."""
        h, new = self._extended(tokens, position, cache, label)
        return self._predicted(h), new

    def extend_cache(
        self, tokens: Tokens, position: Positions, cache: Cache, label: Label
    ) -> dict[str, Tensor]:
        """Return the new cache of `extend`, without predicting from the features."""
        return self._extended(tokens, position, cache, label)[1]

    @abstractmethod
    def _extended(
        self, tokens: Tokens, position: Positions, cache: Cache, label: Label
    ) -> tuple[Features, dict[str, Tensor]]:
        """Return the features that `_predicted` takes, and the new cache.

        The arguments are those of `extend`.
        """

    @abstractmethod
    def _predicted(self, h: Features) -> Float[Tensor, "b s p"]:
        """Return the parameters of the next values."""


def shifted(x: Events) -> Events:
    """Return the values that are consumed after a start symbol: x shifted by one position."""
    return torch.nn.functional.pad(x, (1, 0))[:, :-1]


def consumed_entry(data: DataSpec) -> CacheEntry:
    """Return the cache entry of all consumed tokens."""
    axes = ("b", data.length)
    return CacheEntry(name="consumed", dtype="int64", axes=axes, update=Update.APPEND, axis=-1)


def checked_label(label: Label, data: DataSpec) -> Label:
    """Return the label that a model of these data reads; None for data without classes.

    Raises:
        InvalidInput: the data have labels and `label` is None.
    """
    if data.num_classes is not None and label is None:
        raise InvalidInput(f"label: expected one of {data.num_classes} classes, got None")
    return None if data.num_classes is None else label
