"""The data of the recipes for two cores, and the table of their rows."""

from pathlib import Path

import numpy as np
from PIL import Image

from ancestral.train.data import load_digits, load_npz
from benchmarks.machine import CHECKOUT
from benchmarks.report import replaced
from benchmarks.small import latest, table
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


def test_text_is_every_paragraph_of_the_docstrings_once(tmp_path: Path) -> None:
    """Paragraphs are in the order of the files; docstrings of tests are left out."""
    (tmp_path / "a" / "test").mkdir(parents=True)
    (tmp_path / "b.py").write_text('"""Of b."""\n\n\ndef f():\n    """One.\n\n    Two.\n    """\n')
    (tmp_path / "a" / "z.py").write_text('class Z:\n    """One.\n\n    Three."""\n')
    (tmp_path / "a" / "test" / "t.py").write_text('"""A test."""\n')
    text = write_text(tmp_path / "out", tmp_path).read_text()
    assert text.split("\n\n") == ["One.", "Three.", "Of b.", "Two."]


def test_the_page_shows_the_rows() -> None:
    page = (CHECKOUT / "docs" / "training.md").read_text()
    assert replaced(page, table(latest())) == page, "python -m benchmarks.small --table"
