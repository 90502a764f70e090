"""What an event is: the shape, the levels, the labels of the data that a model gives p(x) to."""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from ancestral.ordering import RASTER, Ordering, permutation


class DataSpec(BaseModel):
    """The space of events x.

    Attributes:
        name: of the data set, for people.
        event_shape: of one event: (8, 8), or (t,) for sequences.
        levels: a value is an integer in 0 .. levels - 1.
        num_classes: labels are 0 .. num_classes - 1; None where there are none.
        ordering: in which order the values of an event are drawn (ancestral.ordering).
        tokenizer: how text becomes values; None where events are no text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    event_shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    levels: int = Field(ge=1)
    num_classes: int | None = Field(default=None, ge=1)
    ordering: Ordering = RASTER
    tokenizer: Literal["bytes"] | None = None

    @property
    def length(self) -> int:
        """Number of values in an event (dimensions)."""
        return math.prod(self.event_shape)

    @property
    def order(self) -> NDArray[np.int64]:
        """The site, in the flattened event, of each position: [t]."""
        return permutation(self.ordering, self.event_shape)

    def in_order(self, events: NDArray[np.int64]) -> NDArray[np.int64]:
        """Events [n, *event_shape] or [n, t], by sites, as sequences [n, t], by positions."""
        flat = events.reshape(len(events), self.length)
        return flat if self.ordering == RASTER else flat[:, self.order]

    def in_place(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sequences [n, t], by positions, as events [n, *event_shape]."""
        if self.ordering != RASTER:
            sequences = sequences[:, np.argsort(self.order)]
        return sequences.reshape(-1, *self.event_shape)

    @model_validator(mode="after")
    def _ordering_is_sound(self) -> "DataSpec":
        if self.ordering != RASTER:
            permutation(self.ordering, self.event_shape)
        return self
