"""The pictures of docs/gallery.md, from small models."""

from pathlib import Path

import pytest
from PIL import Image

from benchmarks import gallery
from tests.doc_commands import ROOT
from tests.doc_folders import write_demo

PICTURES = ("completions", "interpolation", "nats")


@pytest.mark.slow
def test_pictures_are_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_demo(tmp_path / "demo")
    capsys.readouterr()
    gallery.main(["--demo", str(tmp_path / "demo"), "--out", str(tmp_path / "out")])
    for name in PICTURES:
        made = Image.open(tmp_path / "out" / f"{name}.png")
        shown = Image.open(ROOT / "docs" / "gallery" / f"{name}.png")
        with made, shown:
            assert made.size == shown.size, name
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 10 + len(gallery.REAL) + 2
    assert all("nats" in line for line in lines)


def test_page_shows_them() -> None:
    page = (ROOT / "docs" / "gallery.md").read_text()
    files = sorted((ROOT / "docs" / "gallery").iterdir())
    assert [file.stem for file in files] == list(PICTURES)
    for file in files:
        assert f"(gallery/{file.name})" in page
        assert file.stat().st_size < 100_000
