"""The blocks of docs/bulk.md that read rows with pandas, polars, datasets and torch."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.doc_commands import Block, blocks

PAGE = "docs/bulk.md"
READERS = ("pandas", "polars", "datasets", "torch")


def block_of(package: str) -> Block:
    """Return the block that imports a package."""
    wanted = re.compile(rf"^import {package}\b", re.MULTILINE)
    (found,) = (each for each in blocks(PAGE) if wanted.search(each.text))
    return found


@pytest.mark.bulk
@pytest.mark.parametrize("package", READERS)
def test_block(package: str, page_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = block_of(package)
    printed: list[Any] = []
    monkeypatch.chdir(page_folder)
    exec(compile(block.text, PAGE, "exec"), {"print": printed.append})
    assert printed == [True] * block.text.count("  # True\n")
    assert printed, f"{block}: prints nothing"


def test_blocks_are_short() -> None:
    """Three lines, besides the imports and blank ones."""
    for package in READERS:
        code = [line for line in block_of(package).text.splitlines() if line]
        assert len([line for line in code if not line.startswith("import ")]) <= 3, package
