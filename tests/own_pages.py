"""The pages about models of one's own: their Python blocks, run in order as a reader would."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """The blocks of a language, in order."""
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def said(page: str) -> list[str]:
    """What the comments after `print` say that it prints."""
    text = "\n".join(blocks(page, "python"))
    return re.findall(r"^print\(.*\)  # ([^:\n]*).*$", text, flags=re.MULTILINE)


@contextmanager
def run(page: str, folder: Path) -> Iterator[dict[str, Any]]:
    """The names that the blocks leave, and `printed`: the lines; in the folder that they ran in."""
    printed: list[str] = []
    names: dict[str, Any] = {
        "__name__": "own_model",
        "print": lambda *values: printed.append(" ".join(map(str, values))),
    }
    with pytest.MonkeyPatch.context() as patch, torch.random.fork_rng(devices=[]):
        patch.chdir(folder)
        for block in blocks(page, "python"):
            exec(compile(block, page, "exec"), names)
        yield names | {"printed": printed}
