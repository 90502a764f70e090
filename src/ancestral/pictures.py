"""Pictures of events: images of levels as tiles in a grid, as PNG."""

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
"""Grey [height, width], or [height, width, 3]."""

_SIDE = 48
"""A tile is enlarged by a whole number until its shorter side has at least so many pixels."""
_GAP, _GAP_GREY = 2, 96
_TITLE = 24
"""Height of a line of text."""


def is_image(event_shape: Sequence[int]) -> bool:
    """Whether events can be drawn: [height, width], or with 1 or 3 channels first or last.

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
    """Images side by side, row after row, enlarged without smoothing.

    Level 0 is black, the highest is white (or full red, green or blue), unless there is a palette.

    Args:
        images: [n, height, width], or with 1 or 3 channels before or after these, in levels; a
            real number between two levels is as bright as it is far between them.
        levels: values are 0 .. levels - 1.
        columns: tiles in a row; None makes the grid about square.
        palette: red, green and blue of each level, 0 .. 255, of images without channels.

    Raises:
        InvalidInput: no image, another shape, a value that is no level, a palette of another
            length or for images with channels, a colour outside of 0 .. 255, or no column.
    """
    shape = images.shape[1:]
    if not is_image(shape) or 0 in images.shape:
        raise InvalidInput(
            f"images: expected [n, height, width], or with 1 or 3 channels before or after these, "
            f"got shape {images.shape}"
        )
    # A NaN is in no range.
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
    """The level that each value stands for; one beyond the range becomes the nearest end of it.

    >>> to_levels(np.array([-0.7, 1.6, 9.0]), 4).tolist()
    [0, 2, 3]
    >>> to_levels(np.array([-0.7, 1.6, 9.0]), 4, intervals=True).tolist()
    [0, 1, 3]

    Args:
        values: in units of levels; whole numbers stay as they are.
        levels: these are 0 .. levels - 1.
        intervals: whether level i stands for [i, i + 1), as where p(x | z) is a density; else for
            the number i, and the nearest one is taken.

    Raises:
        InvalidInput: a value is NaN.
    """
    whole = np.floor(values) if intervals else np.rint(values)
    return _within(whole, levels).astype(np.int64)


def greys(
    values: NDArray[np.number], levels: int, *, intervals: bool = False
) -> NDArray[np.float64]:
    """Real values as `grid` draws them: what lies between two levels stays there.

    >>> greys(np.array([-0.7, 0.3, 9.0]), 2).tolist()
    [0.0, 0.3, 1.0]

    Args:
        values: in units of levels, means E[x | z] say.
        levels: these are 0 .. levels - 1; a value beyond the range becomes the nearest end of it.
        intervals: whether level i stands for [i, i + 1), so that its grey is that of i + 1/2.

    Raises:
        InvalidInput: a value is NaN.
    """
    return _within(np.asarray(values, np.float64) - (0.5 if intervals else 0.0), levels)


def _within(values: NDArray[Any], levels: int) -> NDArray[Any]:
    """The numbers, each beyond 0 .. levels - 1 as the nearest end of it."""
    if np.isnan(values).any():
        raise InvalidInput("values: expected numbers, got NaN")
    inside: NDArray[Any] = np.clip(values, 0, levels - 1)
    return inside


def beside(panels: Sequence[tuple[str, Pixels]]) -> Pixels:
    """Pictures of one height beside each other, each under its title, on white.

    Args:
        panels: title and picture of each, from left to right.

    Raises:
        InvalidInput: there are none, or their heights or colours differ.
    """
    if len({(len(pixels), pixels.shape[2:]) for _, pixels in panels}) != 1:
        shapes = [pixels.shape for _, pixels in panels]
        raise InvalidInput(f"panels: expected pictures of one height and colour, got {shapes}")
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
    """A PNG file's content; the same pixels give the same bytes with one version of Pillow."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, format="png", optimize=True)
    return content.getvalue()


def _colours(images: NDArray[np.number], levels: int) -> NDArray[np.uint8]:
    """Grey [n, height, width], or [n, height, width, 3]."""
    if images.ndim == 4 and images.shape[1] in (1, 3):
        images = np.moveaxis(images, 1, -1)
    bright: NDArray[np.uint8] = np.rint(images * (255.0 / max(1, levels - 1))).astype(np.uint8)
    return bright[..., 0] if bright.ndim == 4 and bright.shape[-1] == 1 else bright
