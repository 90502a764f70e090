"""Command lines and Python blocks of README.md and the pages in docs, and how tests run them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = (
    "ancestral",
    "make",
    "pip",
    "python",
    "python3",
    "git",
    "lm_eval",
    "curl",
    "docker",
    "cp",
    "podman",
    "gpg",
)
"""The first words of command lines."""

EXEMPT = {
    "docker": "needs Docker and an image",
    "gpg": "needs a key",
    "make": "runs the checks, or takes longer than all of them",
    "ancestral train --recipe text-small --data python": "takes 15 minutes; a test trains one step",
    "python -m benchmarks.python_source": "needs models that were trained for 15 minutes each",
    "python -m benchmarks.gallery": "runs in tests/benchmarks/test_gallery.py",
    "pip": "installs packages; `make test-install` does so",
    "ancestral export ./mine -o text": "is refused, and the page shows the refusal",
    "ancestral export demo/digits --budget": "takes minutes; tests/cli/test_budget.py runs a toy",
    "ancestral export demo/digits --weights": "takes minutes; test_quantise.py runs a toy",
    "ancestral info digits-int8": "tests/cli/test_quantise.py runs it on a toy",
    "ancestral compare digits-int8": "docs/compare.md has one that is run",
    "ancestral compile": "needs TensorRT: tests/cli/test_compile.py runs it on a simulated library",
    "ancestral sample bundle -n 1024 --backend triton --device cuda -o samples.npz": "needs a GPU",
    "ancestral verify bundle --backend triton --device cuda --dtype bfloat16": "needs a GPU",
    "ancestral export MODEL -o served": "runs in `make test-clients`",
    "lm_eval": "runs in `make test-clients`",
    "ancestral serve": "runs in tests/serve/test_serving_page.py",
    "curl": "runs in tests/serve/test_serving_page.py",
    "ancestral verify BUNDLE --backend tensorrt --device cuda": "needs a GPU and TensorRT",
}
"""Lines, or their first words, that no test runs, with the reason."""

EXEMPT_PYTHON = {
    'backend="triton", device="cuda"': "needs a GPU",
    "import pandas as pd": "runs in `make test-bulk`",
    "import polars as pl": "runs in `make test-bulk`",
    "import datasets": "runs in `make test-bulk`",
    "from pyspark": "runs in `make test-bulk`",
    "ancestral.bulk.ray": "runs in `make test-bulk`",
    "from ray import serve": "runs in `make test-bulk`",
    "quantise_bundle(": "takes a minute; tests/export/test_quantise.py runs it on toys",
    "127.0.0.1:8000": "runs in tests/serve/test_serving_page.py, or in `make test-clients`",
}
"""Text of Python blocks that no test runs, with the reason."""

OWN = "docs/own-"
"""Pages whose blocks tests/test_own_model.py and tests/test_own_pages.py run."""


@dataclass(frozen=True, slots=True)
class Run:
    """How a test runs a page.

    Attributes:
        given: files and folders that the page assumes; tests/doc_folders.py creates them.
        instead: replacements of text in the page, for speed.
    """

    given: tuple[str, ...] = ()
    instead: Mapping[str, str] = field(default_factory=dict)


RUNS = {
    "README.md": Run(("demo",), {"k=100": "k=20"}),
    "docs/backends.md": Run(("demo",)),
    "docs/bulk.md": Run(("data.npz", "demo"), {"-n 1000000": "-n 200", "-k 1000": "-k 20"}),
    "docs/checkpoints.md": Run(("book.txt", "gpt2"), {"--stride 256": "--stride 16"}),
    "docs/compare.md": Run(("demo",), {"-n 400": "-n 20"}),
    "docs/files.md": Run(
        ("data.npz",), {"--recipe digits": "--recipe tiny --steps 20", "-k 1000": "-k 20"}
    ),
    "docs/gallery.md": Run(("demo",)),
    "docs/getting-started.md": Run(
        ("demo",),
        {
            "--recipe digits": "--recipe tiny --steps 20",
            "ancestral bench bundle": "ancestral bench bundle --rounds 1 --batch 2",
        },
    ),
    "docs/images.md": Run(
        ("autoencoder-folder", "demo"),
        {
            "--recipe digits": "--recipe tiny --steps 20",
            "-k 100": "-k 20",
            "--size 64": "--size 8x4",
        },
    ),
    "docs/security.md": Run(("bundle",)),
    "docs/speculation.md": Run(("data.npz", "demo"), {"--batch 1": "--batch 1 --rounds 1"}),
    "docs/tensorrt.md": Run(),
    "docs/text.md": Run(("book.txt", "gpt2-folder"), {"text-small": "text-small --steps 2"}),
    "docs/training.md": Run(
        ("book.txt", "mnist"),
        {
            "--recipe digits": "--recipe tiny --steps 20",
            "images-28-small": "images-28-small --steps 2 --width 8 --layers 2",
            "text-small": "text-small --steps 2",
        },
    ),
    # Filters of a model that has hardly learned have ties, which a trace reports.
    "docs/verify.md": Run(("demo",), {"--trace": "--trace --graph step"}),
}
"""The pages that a test runs."""


@dataclass(frozen=True, slots=True)
class Line:
    """A command line.

    Attributes:
        page: path of the page from the root.
        number: number of the line in the page, from 1.
        text: the command, without the comment after it.
    """

    page: str
    number: int
    text: str

    @property
    def exempt(self) -> str | None:
        """The entry of EXEMPT that exempts the line, or None."""
        found = [each for each in EXEMPT if f"{self.text} ".startswith(f"{each} ")]
        return found[0] if found else None

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {self.text}"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block.

    Attributes:
        page: path of the page from the root.
        number: line of the fence, from 1.
        language: text after the fence, or "".
        text: lines between the fences.
    """

    page: str
    number: int
    language: str
    text: str

    @property
    def exempt(self) -> str | None:
        """The entry of EXEMPT_PYTHON that exempts the block, or None."""
        return next((each for each in EXEMPT_PYTHON if each in self.text), None)

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: a block of {self.language or 'no language'}"


def pages() -> list[str]:
    """Return README.md and the pages directly in docs."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def lines(page: str) -> list[Line]:
    """Return the command lines in a page's indented blocks, and in fenced blocks except Python."""
    return list(in_text(page, (ROOT / page).read_text()))


def in_text(page: str, text: str) -> Iterator[Line]:
    """Return the command lines in the text of a page."""
    return (step for step in steps(page, text) if isinstance(step, Line))


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page."""
    every = steps(page, (ROOT / page).read_text())
    return [step for step in every if isinstance(step, Block)]


def steps(page: str, text: str) -> Iterator[Line | Block]:
    """Yield the command lines and the fenced blocks in the text of a page, in order."""
    fence: int | None = None
    language, inside, begun = "", [], ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            if fence is None:
                fence, language, inside = number, line.strip("`").strip(), []
            else:
                yield Block(page, fence, language, "".join(f"{each}\n" for each in inside))
                fence = None
            continue
        if fence is not None:
            inside.append(line)
        elif not line.startswith("    "):
            continue
        if fence is not None and language == "python":
            continue
        code = begun + (line if fence is not None else line[4:]).strip().removeprefix("$ ")
        begun = ""
        if code.endswith(" \\"):
            begun = code.removesuffix("\\")
            continue
        for part in _without_comment(code).split(";"):
            command = part.strip()
            if command.split(" ")[0] in PROGRAMS:
                yield Line(page, number, command)


def mentions(page: str) -> list[str]:
    """Return the commands of ancestral between backticks in a page."""
    return re.findall(r"`(ancestral [a-z][^`]*)`", (ROOT / page).read_text())


def substituted(page: str, text: str) -> str:
    """Return text of a page with the replacements of its `RUNS` entry."""
    for old, new in RUNS[page].instead.items():
        text = text.replace(old, new)
    return text


def _without_comment(code: str) -> str:
    return re.split(r"\s#(?:\s|$)", code)[0]
