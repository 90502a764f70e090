"""Description of a model's events x: their shape, levels, labels and order."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from ancestral.arrays import shown
from ancestral.errors import AncestralError, InvalidInput
from ancestral.excerpts import expectation
from ancestral.limits import AXES, CLASSES, LEVELS, NAME, ORDERING, SITES, STOPS
from ancestral.ordering import RASTER, Ordering, check_ordering, permutation
from ancestral.signature import Record
from ancestral.text.tokenizer import TOKENIZER_FILES, TokenizerKind

Colour = tuple[
    Annotated[int, Field(ge=0, le=255)],
    Annotated[int, Field(ge=0, le=255)],
    Annotated[int, Field(ge=0, le=255)],
]
"""Red, green and blue."""


def _within(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse a shape of too many values; pydantic has checked each length."""
    if math.prod(shape) > SITES:
        raise ValueError(f"expected at most {SITES:,} values, got {list(shape)}")
    return shape


Shape = Annotated[
    tuple[Annotated[int, Field(ge=1, le=SITES)], ...],
    Field(min_length=1, max_length=AXES),
    AfterValidator(_within),
]
"""Shape of an event or of its latents."""


def _plain_sites(ordering: object) -> object:
    """Check explicit sites before pydantic does, which would report each wrong site on its own."""
    if not isinstance(ordering, list | tuple):
        return ordering
    if len(ordering) > ORDERING:
        raise ValueError(f"expected at most {ORDERING:,} sites, got {len(ordering):,}")
    for site in ordering:
        if isinstance(site, bool) or not isinstance(site, int) or not 0 <= site < SITES:
            raise ValueError(f"expected sites in 0 .. {SITES - 1}, got {shown(site)}")
    return tuple(ordering)


class DataSpec(Record):
    """Space of events x.

    Attributes:
        name: name of the data set, for display.
        event_shape: shape of one event, for example (8, 8), or (t,) for sequences.
        levels: number of levels; a value is an integer in 0 .. levels - 1.
        num_classes: number of classes; labels are 0 .. num_classes - 1. `None` without labels.
        ordering: order in which the values of an event are drawn (ancestral.ordering).
        tokenizer: kind of tokenizer that turns text into values; `None` if events are not text. Its
            file, if it needs one, is in the bundle (ancestral.text.tokenizer).
        stop: values that end a text.
        palette: red, green and blue of each level if levels are colours rather than amounts.
    """

    name: str = Field(max_length=NAME)
    event_shape: Shape
    levels: int = Field(ge=1, le=LEVELS)
    num_classes: int | None = Field(default=None, ge=1, le=CLASSES)
    ordering: Annotated[Ordering, BeforeValidator(_plain_sites)] = RASTER
    tokenizer: TokenizerKind | None = None
    stop: tuple[int, ...] = Field(default=(), max_length=STOPS)
    palette: tuple[Colour, ...] | None = Field(default=None, max_length=CLASSES)

    @property
    def length(self) -> int:
        """Number of values in an event (dimensions)."""
        return math.prod(self.event_shape)

    @property
    def tokenizer_file(self) -> str | None:
        """Name of the tokenizer's file in a bundle; `None` if it needs no file."""
        return None if self.tokenizer is None else TOKENIZER_FILES.get(self.tokenizer)

    @property
    def order(self) -> NDArray[np.int64]:
        """Site in the flattened event of each position, [t]."""
        return permutation(self.ordering, self.event_shape)

    def in_order(self, events: NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert events by sites, [n, *event_shape] or [n, t], to positions, [n, t]."""
        flat = events.reshape(len(events), self.length)
        return flat if self.ordering == RASTER else flat[:, self.order]

    def in_place(self, sequences: NDArray[np.int64]) -> NDArray[np.int64]:
        """Convert sequences by positions, [n, t], to events by sites, [n, *event_shape]."""
        if self.ordering != RASTER:
            sequences = sequences[:, np.argsort(self.order)]
        return sequences.reshape(-1, *self.event_shape)

    @model_validator(mode="after")
    def _agrees(self) -> "DataSpec":
        """Check that ordering, stop and palette suit the shape and the levels."""
        check_ordering(self.ordering, self.event_shape)
        wrong = [value for value in self.stop if not 0 <= value < self.levels]
        if wrong or len(set(self.stop)) != len(self.stop):
            raise ValueError(
                f"stop: expected different values in 0 .. {self.levels - 1}, got {shown(self.stop)}"
            )
        if self.palette is not None and len(self.palette) != self.levels:
            raise ValueError(
                f"palette: expected a colour for each of {self.levels} levels, "
                f"got {len(self.palette)}"
            )
        return self


@contextmanager
def explained(source: object, kind: type[AncestralError] = InvalidInput) -> Iterator[None]:
    """Turn pydantic's errors about a DataSpec that is read from a file into errors of a kind.

    Args:
        source: path of the file, for the error.
        kind: class of the error.

    Raises:
        AncestralError: a field has an invalid value; the first such field is reported.
    """
    try:
        yield
    except ValidationError as error:
        problem = error.errors()[0]
        field = ".".join(map(str, problem["loc"])) or "data"
        reason = expectation(problem["msg"])
        raise kind(f"{source}: {field}: {reason}, got {shown(problem['input'])}") from error
