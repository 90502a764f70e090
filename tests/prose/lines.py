"""The prose of the repository, line by line: docstrings, comments, messages and Markdown."""

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_FENCE = re.compile(r"^\s*(```|~~~)")
_CODE = re.compile(r"`[^`]*`")
_EXEMPT = (
    "tests/prose/rules.py",
    "tests/prose/test_errors.py",
    "tests/prose/test_rules.py",
    "benchmarks/LOG.md",
    "CHANGELOG.md",
    "docs/benchmarks.md",
)
"""The rules and their tests, records of the past, and a page whose tables are such records."""


class Line(NamedTuple):
    """A line of prose.

    Attributes:
        file: path from the root of the repository.
        number: of the line, from 1.
        text: the prose of the line.
        opens_docstring: whether it is the first line of a docstring.
    """

    file: str
    number: int
    text: str
    opens_docstring: bool = False


def tracked_lines(root: Path) -> Iterator[Line]:
    """Yield the prose of every tracked Python and Markdown file and of the Makefile."""
    listed = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "Makefile", "pyproject.toml"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for file in listed.stdout.splitlines():
        if file not in _EXEMPT and (root / file).is_file():
            yield from lines_of(file, (root / file).read_text("utf-8"))


def lines_of(file: str, text: str) -> Iterator[Line]:
    """Yield the prose of one file's text, by the ending of its name."""
    if file.endswith(".py"):
        yield from _python(file, text)
    elif file.endswith(".md"):
        yield from _markdown(file, text)
    else:
        for number, line in enumerate(text.splitlines(), 1):
            yield Line(file, number, line.partition("#")[2])


def _python(file: str, text: str) -> Iterator[Line]:
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield Line(file, token.start[0], token.string.lstrip("# "))
    tree = ast.parse(text)
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        # A name, a key or a regular expression has no spaces.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            for offset, line in enumerate(node.value.splitlines()):
                opens = id(node) in documented and offset == 0
                yield Line(file, node.lineno + offset, line.strip(), opens)


def _markdown(file: str, text: str) -> Iterator[Line]:
    """Yield the text outside of code, and outside of CONTRIBUTING's table of words to avoid."""
    fenced = table = False
    for number, line in enumerate(text.splitlines(), 1):
        if _FENCE.match(line):
            fenced = not fenced
        table = line.startswith("|") and (table or line.startswith("| not | but |"))
        if not fenced and not table and not line.startswith("    "):
            yield Line(file, number, _CODE.sub("", line))
