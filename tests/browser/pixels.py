"""What a canvas of the page shows, and what its words say."""

import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from playwright.sync_api import Locator

_READ = """(canvas, [rows, columns]) => {
  const context = canvas.getContext("2d");
  const [high, wide] = [canvas.height / rows, canvas.width / columns];
  return Array.from({ length: rows }, (_, row) => Array.from({ length: columns }, (_, column) =>
    [...context.getImageData((column + 0.25) * wide, (row + 0.25) * high, 1, 1).data].slice(0, 3)));
}"""


def colours(canvas: "Locator", rows: int, columns: int) -> NDArray[np.int64]:
    """Return the colour of each pixel of an event, off its centre, [rows, columns, 3]."""
    return np.array(canvas.evaluate(_READ, [rows, columns]))


def greys(event: NDArray[np.generic], levels: int) -> NDArray[np.int64]:
    """Return the colours that an event of amounts must have, [rows, columns, 3]."""
    bright = np.clip(np.asarray(event, np.float64) * 255 / (levels - 1), 0, 255)
    return np.repeat(np.rint(bright).astype(np.int64)[..., None], 3, axis=-1)


def numbers(words: str) -> list[float]:
    """Return the numbers in some words, which the page writes with the sign for minus."""
    return [float(each) for each in re.findall(r"-?\d+(?:\.\d+)?", words.replace("\u2212", "-"))]
