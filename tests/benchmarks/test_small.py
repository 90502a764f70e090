"""The data of the recipes for two cores, and the table of their rows."""

from pathlib import Path

import numpy as np
from PIL import Image

from ancestral.train.data import load_digits, load_npz
from benchmarks.report import replaced
from benchmarks.rows import ROOT
from benchmarks.small import read, table
from benchmarks.small_data import enlarged, write_digits, write_text


def test_enlarged_digits_are_those_of_pillow_rounded(tmp_path: Path) -> None:
    digits, large = load_digits(), load_npz(write_digits(tmp_path))
    assert (large.spec.event_shape, large.spec.levels) == ((28, 28), 17)
    for name in ("train", "validation", "test"):
        assert np.array_equal(getattr(large.split, name), getattr(digits.split, name))
        assert np.array_equal(getattr(large, name).label, getattr(digits, name).label)
    for small, ours in zip(digits.test.x[:20], large.test.x[:20], strict=True):
        picture = Image.fromarray(small.reshape(8, 8).astype(np.float32))
        exact = np.asarray(picture.resize((28, 28), Image.Resampling.BILINEAR))
        assert np.abs(ours.reshape(28, 28) - exact).max() <= 0.5 + 1e-5


def test_a_half_is_rounded_up() -> None:
    assert enlarged(np.array([[[0, 1], [0, 1]]]), 3).tolist() == [[[0, 1, 1]] * 3]


def test_text_is_the_same_each_time_without_repeated_paragraphs(tmp_path: Path) -> None:
    text = write_text(tmp_path).read_text()
    paragraphs = text.split("\n\n")
    assert len(text) > 10**6
    assert len(set(paragraphs)) == len(paragraphs)
    assert write_text(tmp_path).read_text() == text


def test_the_page_shows_the_rows() -> None:
    page = (ROOT.parent / "docs" / "training.md").read_text()
    assert replaced(page, table(read())) == page, "python -m benchmarks.small --table"
