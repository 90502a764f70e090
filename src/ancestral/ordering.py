"""Order in which the values of an event are drawn: a permutation of its sites.

A site is the index of a value in the flattened event, rows first; a position is its index in the
order of drawing. Models, graphs and caches use positions; events that users pass and get use sites.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ancestral.arrays import integers, shown
from ancestral.decimals import decimal
from ancestral.errors import InvalidInput
from ancestral.philox import seed_key, uniforms

Ordering = str | tuple[int, ...]
"""An ordering: raster, column, random:SEED, or the site of each position."""

RASTER: Ordering = "raster"


def permutation(ordering: Ordering, event_shape: tuple[int, ...]) -> NDArray[np.int64]:
    """Return the site of each position, [t].

    Args:
        ordering: "raster", rows first; "column", columns first, the channels of a pixel together;
            "random:SEED", drawn with Philox; or the sites themselves.
        event_shape: (t,), (height, width) or (height, width, channels).

    Raises:
        InvalidInput: the ordering is unknown, or the sites are not a permutation.
    """
    check_ordering(ordering, event_shape)
    sites = np.arange(math.prod(event_shape), dtype=np.int64)
    if not isinstance(ordering, str):
        return integers("ordering", ordering)
    name, _, seed = ordering.partition(":")
    match name:
        case "column":
            axes = (1, 0, *range(2, len(event_shape)))
            return np.ascontiguousarray(sites.reshape(event_shape).transpose(axes)).reshape(-1)
        case "random":
            drawn = uniforms(int(seed), np.zeros(1, np.int64), sites)[0]
            return np.argsort(drawn, kind="stable").astype(np.int64)
        case _:
            return sites


def check_ordering(ordering: Ordering, event_shape: tuple[int, ...]) -> None:
    """Check an ordering of events of a shape, without computing a named one.

    Raises:
        InvalidInput: the ordering is unknown, its seed is outside 0 .. 2^64 - 1, or the sites are
            not a permutation.
    """
    t = math.prod(event_shape)
    if not isinstance(ordering, str):
        given = integers("ordering", ordering)
        if given.shape != (t,) or not np.array_equal(np.sort(given), np.arange(t)):
            raise InvalidInput(
                f"ordering: expected each site of 0 .. {t - 1} once, got {_defect(given, t)}"
            )
        return
    name, _, seed = ordering.partition(":")
    match name:
        case "raster" if not seed:
            return
        case "column" if not seed and len(event_shape) > 1:
            return
        case "random" if (number := decimal(seed)) is not None:
            seed_key(number)
            return
    raise InvalidInput(
        f"ordering: expected raster, column (for images), random:SEED or a permutation of the "
        f"sites, got {shown(ordering)} for events {event_shape}"
    )


def neighbours(
    order: NDArray[np.int64], event_shape: tuple[int, ...], offsets: Sequence[tuple[int, ...]]
) -> NDArray[np.int64]:
    """Return the positions of the neighbours of each position, [t, n].

    An entry is -1 if the neighbour is outside the event or is not drawn earlier.

    Args:
        order: site of each position, [t].
        event_shape: shape of an event.
        offsets: displacement of each neighbour along the axes; (-1, 0) is the pixel above.

    Raises:
        InvalidInput: an offset and the events have different numbers of axes.
    """
    t = len(order)
    position = np.empty(t, np.int64)
    position[order] = np.arange(t)
    place = np.stack(np.unravel_index(order, event_shape), axis=-1)
    found = np.full((t, len(offsets)), -1, np.int64)
    for n, offset in enumerate(offsets):
        if len(offset) != len(event_shape):
            raise InvalidInput(
                f"neighbour: expected {len(event_shape)} displacements for events {event_shape}, "
                f"got {offset}"
            )
        there = place + np.asarray(offset)
        inside = ((there >= 0) & (there < event_shape)).all(axis=1)
        site = np.ravel_multi_index(tuple(there[inside].T), event_shape)
        found[inside, n] = position[site]
    return np.where(found < np.arange(t)[:, None], found, -1)


def _defect(given: NDArray[np.int64], t: int) -> str:
    if given.shape != (t,):
        return f"{given.size} sites"
    wrong = sorted(set(range(t)) - set(given.tolist()))
    return f"sites without {wrong[:3]}"
