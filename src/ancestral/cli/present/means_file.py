"""The files that means E[x | z] are written to: pictures that keep their greys, arrays."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ancestral.cli.arrays import write_arrays
from ancestral.cli.output import check_target
from ancestral.errors import InvalidInput
from ancestral.files.atomic import write_atomically
from ancestral.pictures import greys, grid, is_image, png, to_levels

if TYPE_CHECKING:
    from ancestral.dataspec import DataSpec
    from ancestral.engine import LatentEngine

Array = NDArray[Any]


def check_means_target(
    out: Path, engine: "LatentEngine | None" = None, keep: Iterable[Path] = ()
) -> None:
    """Refuse, before the work that it is for, a file that could not be written or does not suit.

    Raises:
        InvalidInput: an unknown suffix, a place that cannot be written to, a picture of no images.
    """
    check_target(out, (".png", ".npz"), keep=keep)
    if engine is not None and is_picture(out) and not is_image(engine.data.event_shape):
        raise InvalidInput(
            f"--out: events {engine.data.event_shape} are no images: expected .npz, got {out}"
        )


def is_picture(out: Path) -> bool:
    """Whether a file of that name is a picture, else arrays."""
    return out.suffix.lower() == ".png"


def of_all(drawn: int, there: int, what: str) -> str:
    """How many are in a picture, and the way to more: "16 of 20 events (-n 20 draws all)".

    >>> of_all(16, 20, "events"), of_all(20, 20, "events")
    ('16 of 20 events (-n 20 draws all)', '20 events')
    """
    return (
        f"{drawn} {what}" if drawn == there else f"{drawn} of {there} {what} (-n {there} draws all)"
    )


def write_means(
    out: Path,
    arrays: Mapping[str, Array],
    means: Array,
    columns: int | None,
    engine: "LatentEngine",
    events: Array | None = None,
) -> None:
    """Write arrays, or a picture.

    Args:
        out: its suffix says which.
        arrays: by name.
        means: of the picture, [n, *event_shape], in units of levels.
        columns: tiles in a row of it; about square where None.
        engine: whose events they are.
        events: drawn before the means: levels, or real values in units of levels.

    Raises:
        OSError: it could not be written; an old file of that name is whole.
    """
    if not is_picture(out):
        write_arrays(out, arrays)
        return
    data, intervals = engine.data, engine.latent.continuous
    tiles = mean_tiles(means, data, intervals=intervals)
    if events is not None:
        tiles = np.concatenate([to_levels(events, data.levels, intervals=intervals), tiles])
    write_atomically(out, png(grid(tiles, data.levels, columns, data.palette)))


def mean_tiles(means: Array, data: "DataSpec", *, intervals: bool) -> Array:
    """What `grid` draws of means: their greys; between two colours of a palette is none.

    Args:
        means: [n, *event_shape], in units of levels.
        data: the space of events.
        intervals: as in `ancestral.pictures.greys`.
    """
    if data.palette is None:
        return greys(means, data.levels, intervals=intervals)
    return to_levels(means, data.levels, intervals=intervals)
