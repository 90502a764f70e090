"""The command lines of README.md and of the pages in docs, and how a test runs them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = (
    "ancestral",
    "make",
    "pip",
    "python",
    "python3",
    "git",
    "curl",
    "docker",
    "cp",
    "podman",
    "gpg",
)
"""What a line begins with that is a command line."""

EXEMPT = {
    "docker": "needs Docker and an image",
    "gpg": "needs a key",
    "make": "runs the checks, or takes longer than all of them",
    "pip": "installs packages; `make test-install` does so",
    "ancestral export ./mine -o text": "is refused, and the page shows the refusal",
    "ancestral compile": "needs TensorRT: tests/cli/test_compile.py runs it on a simulated library",
    "ancestral sample bundle -n 1024 --backend triton --device cuda -o samples.npz": "needs a GPU",
    "ancestral verify bundle --backend triton --device cuda --dtype bfloat16": "needs a GPU",
    "ancestral verify BUNDLE --backend tensorrt --device cuda": "needs a GPU and TensorRT",
}
"""Lines, or what they begin with, that no test runs, and why."""

SUBSTITUTIONS = {
    "docs/backends.md": {},
    "docs/checkpoints.md": {"--stride 256": "--stride 16"},
    "docs/files.md": {"--recipe digits": "--recipe tiny --steps 20", "-k 1000": "-k 20"},
    "docs/getting-started.md": {
        "--recipe digits": "--recipe tiny --steps 20",
        "ancestral bench bundle": "ancestral bench bundle --rounds 1 --batch 2",
    },
    "docs/images.md": {
        "--recipe digits": "--recipe tiny --steps 20",
        "-k 100": "-k 20",
        "--size 64": "--size 8x4",
    },
    "docs/security.md": {},
    "docs/tensorrt.md": {},
    "docs/text.md": {"text-small": "text-small --steps 2"},
    "docs/training.md": {
        "--recipe digits": "--recipe tiny --steps 20",
        "images-28-small": "images-28-small --steps 2 --width 8 --layers 2",
        "text-small": "text-small --steps 2",
    },
    # Filters of a model that has hardly learned have ties, which a trace reports.
    "docs/verify.md": {"--trace": "--trace --graph step"},
}
"""Pages whose lines a test runs, and what it runs instead of some text, for speed."""


@dataclass(frozen=True, slots=True)
class Line:
    """A command line.

    Attributes:
        page: path of the page from the root.
        number: of the line in the page, from 1.
        text: the command, without the comment after it.
    """

    page: str
    number: int
    text: str

    @property
    def exempt(self) -> str | None:
        """What of EXEMPT it is, if anything."""
        found = [each for each in EXEMPT if f"{self.text} ".startswith(f"{each} ")]
        return found[0] if found else None

    def __str__(self) -> str:
        return f"{self.page}:{self.number}: {self.text}"


def pages() -> list[str]:
    """README.md and the pages directly in docs."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))]


def lines(page: str) -> list[Line]:
    """The command lines of a page: in indented blocks, and in fenced ones but those of Python."""
    return list(in_text(page, (ROOT / page).read_text()))


def in_text(page: str, text: str) -> Iterator[Line]:
    """The command lines of the text of a page."""
    fence: str | None = None
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fence = line[3:].strip() if fence is None else None
            continue
        code = line if fence is not None else line[4:] if line.startswith("    ") else ""
        if fence == "python":
            continue
        for part in _without_comment(code.removeprefix("$ ")).split(";"):
            command = part.strip()
            if command.split(" ")[0] in PROGRAMS:
                yield Line(page, number, command)


def python_blocks(page: str) -> list[tuple[int, str]]:
    """The Python blocks of a page, each with the number of the line before it."""
    text = (ROOT / page).read_text()
    found = re.finditer(r"^```python\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, each.start()) + 1, each[1]) for each in found]


def mentions(page: str) -> list[str]:
    """Commands of ancestral in the sentences of a page, between backticks."""
    return re.findall(r"`(ancestral [a-z][^`]*)`", (ROOT / page).read_text())


def substituted(line: Line) -> list[str]:
    """The arguments of a line of ancestral, as a test runs it."""
    text = line.text
    for old, new in SUBSTITUTIONS[line.page].items():
        text = text.replace(old, new)
    return shlex.split(text)[1:]


def _without_comment(code: str) -> str:
    return re.split(r"\s#(?:\s|$)", code)[0]
