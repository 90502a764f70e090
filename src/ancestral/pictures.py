"""Draw events that are images: tiles in a grid, as PNG."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Real, UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from ancestral.arrays import check_range, integers
from ancestral.errors import InvalidInput
from ancestral.scalars import whole

Pixels = UInt8[np.ndarray, "..."]
"""Grey [height, width], or colour [height, width, 3]."""

_SIDE = 48
"""Smallest shorter side of a tile in pixels; a smaller one is enlarged by a whole factor."""
_GAP, _GAP_GREY = 2, 96
_TITLE = 24
"""Height of a title in pixels."""


def is_image(event_shape: Sequence[int]) -> bool:
    """Return whether events can be drawn: [height, width], or with 1 or 3 channels first or last.

    >>> is_image((8, 8)), is_image((3, 32, 32)), is_image((32, 32, 3)), is_image((256,))
    (True, True, True, False)
    """
    return len(event_shape) == 2 or (
        len(event_shape) == 3 and (event_shape[0] in (1, 3) or event_shape[2] in (1, 3))
    )


def grid(
    images: Real[np.ndarray, "n ..."],
    levels: int,
    columns: int | None = None,
    palette: Sequence[tuple[int, int, int]] | None = None,
) -> Pixels:
    """Draw images as tiles of a grid, row by row, enlarged without smoothing.

    Without a palette, level 0 is black and the highest is white (or full red, green or blue).

    Args:
        images: [n, height, width], or with 1 or 3 channels before or after these, in levels; the
            brightness of a real number between two levels is interpolated linearly.
        levels: number of levels; values are 0 .. levels - 1.
        columns: number of tiles in a row; `None` makes the grid about square.
        palette: red, green and blue of each level, 0 .. 255; for images without channels.

    Raises:
        InvalidInput: there are no images, their shape is not supported, a value is outside
            0 .. levels - 1, the palette has the wrong length or the images have channels, a colour
            is outside 0 .. 255, or `columns` is less than 1.
    """
    shape = images.shape[1:]
    if not is_image(shape) or 0 in images.shape:
        raise InvalidInput(
            f"images: expected [n, height, width], or with 1 or 3 channels before or after these, "
            f"got shape {images.shape}"
        )
    # Written so that NaN is refused too.
    if not (images.min() >= 0 and images.max() <= levels - 1):
        raise InvalidInput(
            f"images: expected values in 0 .. {levels - 1}, got {images.min()} .. {images.max()}"
        )
    if palette is not None:
        if len(palette) != levels or len(shape) != 2:
            raise InvalidInput(
                f"palette: expected {levels} colours, for images [n, height, width], "
                f"got {len(palette)} for shape {images.shape}"
            )
        check_range("palette", integers("palette", palette), 0, 255)
        tiles = np.array(palette, np.uint8)[integers("images", images)]
    else:
        tiles = _colours(images, levels)
    wanted = math.ceil(math.sqrt(len(images))) if columns is None else columns
    columns = whole("columns", wanted, 1, 2**31)
    times = max(1, math.ceil(_SIDE / min(tiles.shape[1:3])))
    tiles = tiles.repeat(times, axis=1).repeat(times, axis=2)
    n, height, width = tiles.shape[:3]
    pitch = np.array([height, width]) + _GAP
    size = pitch * (-(-n // columns), min(n, columns)) + _GAP
    pixels = np.full((*size, *tiles.shape[3:]), _GAP_GREY, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = pitch * divmod(i, columns) + _GAP
        pixels[top : top + height, left : left + width] = tile
    return pixels


def to_levels(
    values: NDArray[np.number], levels: int, *, intervals: bool = False
) -> NDArray[np.int64]:
    """Return the level of each value; a value outside the range gets the nearest end of it.

    >>> to_levels(np.array([-0.7, 1.6, 9.0]), 4).tolist()
    [0, 2, 3]
    >>> to_levels(np.array([-0.7, 1.6, 9.0]), 4, intervals=True).tolist()
    [0, 1, 3]

    Args:
        values: values in units of levels; whole numbers do not change.
        levels: number of levels, which are 0 .. levels - 1.
        intervals: whether level i covers [i, i + 1), as it does if p(x | z) is a density; otherwise
            a value is rounded to the nearest level.

    Raises:
        InvalidInput: a value is NaN.
    """
    whole = np.floor(values) if intervals else np.rint(values)
    return _within(whole, levels).astype(np.int64)


def greys(
    values: NDArray[np.number], levels: int, *, intervals: bool = False
) -> NDArray[np.float64]:
    """Return real values as `grid` draws them; a value between two levels stays between them.

    >>> greys(np.array([-0.7, 0.3, 9.0]), 2).tolist()
    [0.0, 0.3, 1.0]

    Args:
        values: values in units of levels, for example means E[x | z].
        levels: number of levels, which are 0 .. levels - 1; a value outside them gets the nearest
            end of the range.
        intervals: whether level i covers [i, i + 1), so that i + 1/2 has the grey of level i.

    Raises:
        InvalidInput: a value is NaN.
    """
    return _within(np.asarray(values, np.float64) - (0.5 if intervals else 0.0), levels)


def _within(values: NDArray[Any], levels: int) -> NDArray[Any]:
    """Clip numbers to 0 .. levels - 1; refuse NaN."""
    if np.isnan(values).any():
        raise InvalidInput("values: expected numbers, got NaN")
    inside: NDArray[Any] = np.clip(values, 0, levels - 1)
    return inside


def side_by_side(panels: Sequence[tuple[str, Pixels]]) -> Pixels:
    """Place pictures of the same height next to each other on white, each under its title.

    Args:
        panels: title and picture of each panel, from left to right.

    Raises:
        InvalidInput: there are no panels, or the heights or the numbers of channels differ.
    """
    if len({(len(pixels), pixels.shape[2:]) for _, pixels in panels}) != 1:
        shapes = [pixels.shape for _, pixels in panels]
        raise InvalidInput(
            f"panels: expected pictures of the same height and channels, got shapes {shapes}"
        )
    font = ImageFont.load_default(size=15)
    parts = []
    for title, pixels in panels:
        width = max(pixels.shape[1], math.ceil(font.getlength(title)))
        canvas = np.full((len(pixels) + _TITLE, width, *pixels.shape[2:]), 255, np.uint8)
        canvas[_TITLE:, : pixels.shape[1]] = pixels
        image = Image.fromarray(canvas)
        ImageDraw.Draw(image).text((0, 2), title, fill="black", font=font)
        space = np.full((len(canvas), _TITLE, *pixels.shape[2:]), 255, np.uint8)
        parts += [np.asarray(image), space]
    return np.concatenate(parts[:-1], axis=1)


def png(pixels: Pixels) -> bytes:
    """Encode a PNG file; the same pixels give the same bytes with the same version of Pillow."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="png", optimize=True)
    return content.getvalue()


def _colours(images: NDArray[np.number], levels: int) -> NDArray[np.uint8]:
    """Convert levels to grey [n, height, width] or colour [n, height, width, 3]."""
    if images.ndim == 4 and images.shape[1] in (1, 3):
        images = np.moveaxis(images, 1, -1)
    bright: NDArray[np.uint8] = np.rint(images * (255.0 / max(1, levels - 1))).astype(np.uint8)
    return bright[..., 0] if bright.ndim == 4 and bright.shape[-1] == 1 else bright
