"""The pages about users' own models: their Python blocks, run in order as a reader would."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

DOCS = Path(__file__).resolve().parents[1] / "docs"


def blocks(page: str, language: str) -> list[str]:
    """Return the fenced blocks of a language, in order."""
    text = (DOCS / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def expected_output(page: str) -> list[str]:
    """Return the output that the comments after calls of `print` give."""
    text = "\n".join(blocks(page, "python"))
    return re.findall(r"^print\(.*\)  # ([^:\n]*).*$", text, flags=re.MULTILINE)


@contextmanager
def run(page: str, folder: Path) -> Iterator[dict[str, Any]]:
    """Run a page's blocks in a folder; yield their global names, and the lines as `printed`."""
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
