import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ancestral.errors import InvalidInput
from ancestral.pictures import greys, grid, is_image, png, side_by_side, to_levels


def test_tiles_are_in_reading_order() -> None:
    """5 images of one value each in 2 columns: the middle of each tile has its image's grey."""
    images = np.arange(5)[:, None, None] * np.ones((1, 8, 8), np.int64)
    pixels = grid(images, levels=5, columns=2)
    tile = 48
    middles = [2 + tile // 2 + i * (tile + 2) for i in range(3)]
    greys = pixels[np.ix_(middles, middles[:2])]
    gap = int(pixels[0, 0])
    assert greys.tolist() == [[0, 64], [128, 191], [255, gap]]
    assert pixels.shape == (3 * 50 + 2, 2 * 50 + 2)


def test_enlarged_without_smoothing() -> None:
    image = np.arange(6).reshape(1, 2, 3)
    pixels = grid(image, levels=6, columns=1)[2:-2, 2:-2]
    assert pixels.shape == (48, 72)
    np.testing.assert_array_equal(pixels[::24, ::24], image[0] * 51)
    assert len(np.unique(pixels)) == 6


@pytest.mark.parametrize(("n", "shape"), [(1, (1, 1)), (4, (2, 2)), (5, (2, 3)), (64, (8, 8))])
def test_about_square(n: int, shape: tuple[int, int]) -> None:
    pixels = grid(np.zeros((n, 8, 8), np.int64), levels=2)
    assert tuple((side - 2) // 50 for side in pixels.shape) == shape


def test_few_images_leave_no_empty_columns() -> None:
    assert grid(np.zeros((2, 8, 8), np.int64), levels=2, columns=10).shape == (52, 102)


def test_colours() -> None:
    red = np.zeros((1, 3, 60, 60), np.int64)
    red[:, 0] = 1
    pixels = grid(red, levels=2)
    assert pixels[30, 30].tolist() == [255, 0, 0]
    grey = grid(red[:, :1], levels=2)
    assert grey.ndim == 2
    assert grey[30, 30] == 255


def test_palette() -> None:
    """With a palette, each level is drawn in its colour."""
    colours = ((200, 0, 0), (0, 150, 3), (1, 2, 250))
    images = np.array([0, 2, 1])[:, None, None] * np.ones((1, 60, 60), np.int64)
    pixels = grid(images, levels=3, columns=3, palette=colours)
    assert [tuple(pixels[30, 30 + 62 * i]) for i in range(3)] == [colours[i] for i in (0, 2, 1)]
    with Image.open(io.BytesIO(png(pixels))) as picture:
        assert picture.mode == "RGB"
    with pytest.raises(InvalidInput, match="palette: expected 3 colours"):
        grid(images, levels=3, palette=colours[:2])
    with pytest.raises(InvalidInput, match=r"palette: .* images \[n, height, width\]"):
        grid(images[:, None], levels=3, palette=colours)
    for value in (-1, 256):
        with pytest.raises(InvalidInput, match=r"palette: expected values in 0 \.\. 255"):
            grid(images, levels=3, palette=[*colours[:2], (0, 0, value)])


def test_one_level_is_black() -> None:
    assert grid(np.zeros((1, 4, 4), np.int64), levels=1)[10, 10] == 0


@pytest.mark.parametrize(
    ("images", "levels", "columns"),
    [
        (np.zeros((0, 8, 8), np.int64), 2, None),
        (np.zeros((2, 9), np.int64), 2, None),
        (np.zeros((2, 2, 8, 8), np.int64), 2, None),
        (np.full((1, 8, 8), 2), 2, None),
        (np.full((1, 8, 8), -1), 2, None),
        (np.zeros((1, 8, 8), np.int64), 2, 0),
        (np.full((1, 8, 8), 1.01), 2, None),
        (np.full((1, 8, 8), -0.01), 2, None),
        (np.full((1, 8, 8), np.nan), 2, None),
        (np.zeros((1, 8, 8), np.int64), 2, float("nan")),
    ],
    ids=[
        "none",
        "sequence",
        "two channels",
        "above",
        "below",
        "no column",
        "grey above",
        "grey below",
        "NaN",
        "NaN columns",
    ],
)
@pytest.mark.usefixtures("called_by_users")
def test_refused(images: np.ndarray, levels: int, columns: Any) -> None:
    with pytest.raises(InvalidInput, match="expected"):
        grid(images, levels, columns)


def test_png_round_trip() -> None:
    pixels = grid(np.arange(64).reshape(1, 8, 8) % 17, levels=17)
    with Image.open(io.BytesIO(png(pixels))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), pixels)


def test_side_by_side_keeps_both_pictures() -> None:
    left, right = (grid(np.full((4, 8, 8), v), levels=2, columns=c) for v, c in ((0, 2), (1, 2)))
    both = side_by_side([("samples", left), ("real", right)])
    np.testing.assert_array_equal(both[24:, : left.shape[1]], left)
    np.testing.assert_array_equal(both[24:, -right.shape[1] :], right)
    title = both[:24, : left.shape[1]]
    assert title.max() == 255
    assert title.min() < 128


def test_side_by_side_refuses_other_heights() -> None:
    one, two = (grid(np.zeros((n, 8, 8), np.int64), levels=2, columns=1) for n in (1, 2))
    with pytest.raises(InvalidInput, match="the same height"):
        side_by_side([("a", one), ("b", two)])
    with pytest.raises(InvalidInput, match="the same height"):
        side_by_side([])


@pytest.mark.parametrize(
    ("shape", "drawn"),
    [
        ((2, 3), True),
        ((1, 2, 3), True),
        ((3, 2, 4), True),
        ((2, 4, 3), True),
        ((2, 4, 1), True),
        ((2, 2, 4), False),
        ((9,), False),
    ],
)
def test_is_image(shape: tuple[int, ...], drawn: bool) -> None:
    assert is_image(shape) == drawn


def test_channels_first_or_last() -> None:
    """Channels first and channels last give the same picture."""
    images = np.random.default_rng(0).integers(0, 5, (2, 4, 6, 3))
    assert np.array_equal(grid(images, 5), grid(np.moveaxis(images, -1, 1), 5))


def test_nearest_level() -> None:
    values = np.array([[-3.0, 0.4, 0.6], [1.5001, 2.9, 99.0]], np.float32)
    assert to_levels(values, 4).tolist() == [[0, 0, 1], [2, 3, 3]]
    assert to_levels(values, 4, intervals=True).tolist() == [[0, 0, 0], [1, 2, 3]]
    whole = np.arange(4)
    for intervals in (False, True):
        np.testing.assert_array_equal(to_levels(whole, 4, intervals=intervals), whole)
    assert to_levels(np.array([np.inf, -np.inf]), 4).tolist() == [3, 0]
    with pytest.raises(InvalidInput, match="got NaN"):
        to_levels(np.array([np.nan]), 4)


def test_greys() -> None:
    """Values between two levels are not rounded: a mean of bits has the grey of its probability."""
    means = np.array([0.0, 0.2, 0.5, 0.6, 1.0])
    pixels = grid(greys(means, 2)[:, None, None] * np.ones((1, 60, 60)), 2, columns=5)
    assert [int(pixels[30, 30 + 62 * i]) for i in range(5)] == [0, 51, 128, 153, 255]
    values = np.array([[-3.0, 0.25, 1.5, 2.75, 99.0]], np.float32)
    assert greys(values, 4).tolist() == [[0, 0.25, 1.5, 2.75, 3]]
    assert greys(values, 4, intervals=True).tolist() == [[0, 0, 1, 2.25, 3]]
    whole = np.arange(4)
    np.testing.assert_array_equal(greys(whole, 4), whole)
    with pytest.raises(InvalidInput, match="got NaN"):
        greys(np.array([np.nan]), 4)


def test_palette_has_no_greys() -> None:
    with pytest.raises(InvalidInput, match="images: expected integers"):
        grid(np.full((1, 60, 60), 0.5), 2, palette=[(0, 0, 0), (1, 2, 3)])
