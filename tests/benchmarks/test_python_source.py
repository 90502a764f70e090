"""Bits/byte of coders on the test files of the standard library, and the table of the rows."""

import lzma
import shutil
import subprocess

import pytest

from ancestral.train.data.source_record import SourceFile, SourceRecord
from benchmarks.machine import CHECKOUT
from benchmarks.python_source import FILE, GIVEN, CoderRow, HeldOut, table, xz, zstd
from benchmarks.report import replaced
from benchmarks.rows import read

HASH = "0" * 64
RECORD = SourceRecord(
    python="3.0.1", files=(SourceFile(path="a.py", part="test", size=7, sha256=HASH),)
)
TEXT = b"def f(x):\n    return x + 1\n" * 20 + bytes(range(256))


def test_bits_of_files_and_of_all_joined() -> None:
    """A coder that needs 40 bits for its header and 2 bits a byte."""
    test = HeldOut(RECORD, [b"abc", b"defghi", b"j"])

    def bits(text: bytes) -> float:
        return 40 + 2 * len(text)

    row = test.row("two bits", "1", bits)
    assert (row.each, row.joined) == (2 + 3 * 40 / 10, 2 + 40 / 10)
    assert (row.files, row.size, row.python, row.corpus) == (3, 10, "3.0.1", RECORD.sha256)
    given = test.given(b"before", "two bits, given", "1", bits)
    assert (given.each, given.joined) == (None, 2.0)


def test_programs_compress_what_they_give_back() -> None:
    assert lzma.decompress(lzma.compress(TEXT, preset=9 | lzma.PRESET_EXTREME)) == TEXT
    assert 8 * 256 < xz(TEXT) < 8 * len(TEXT) / 2
    if shutil.which("zstd") is None:
        pytest.skip("zstd is not installed")
    compressed = subprocess.run(
        ["zstd", "--ultra", "-22", "-c"], input=TEXT, capture_output=True, check=True
    ).stdout
    back = subprocess.run(["zstd", "-dc"], input=compressed, capture_output=True, check=True)
    assert back.stdout == TEXT
    assert zstd(TEXT) == 8 * len(compressed)


def test_the_page_shows_the_rows() -> None:
    rows = read(CoderRow, FILE)
    page = (CHECKOUT / "docs" / "text.md").read_text()
    assert replaced(page, table(rows)) == page, "python -m benchmarks.python_source --table"
    assert GIVEN in {row.coder for row in rows}
    assert len({row.corpus for row in rows}) == 1
