"""What an event is: the shape, the levels, the labels of the data that a model gives p(x) to."""

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class DataSpec(BaseModel):
    """The space of events x.

    Attributes:
        name: of the data set, for people.
        event_shape: of one event: (8, 8), or (t,) for sequences.
        levels: a value is an integer in 0 .. levels - 1.
        num_classes: labels are 0 .. num_classes - 1; None where there are none.
        ordering: in which order the values of an event are drawn.
        tokenizer: how text becomes values; None where events are no text.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    event_shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    levels: int = Field(ge=1)
    num_classes: int | None = Field(default=None, ge=1)
    ordering: Literal["raster"] = "raster"
    tokenizer: Literal["bytes"] | None = None

    @property
    def length(self) -> int:
        """Number of values in an event (dimensions)."""
        return math.prod(self.event_shape)
