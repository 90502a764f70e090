"""The check of prose finds what it is for, wherever prose is written."""

import pytest

from .__main__ import problems
from .lines import Line, lines_of
from .rules import FIRST_LINE, RULES, Rule


@pytest.mark.parametrize("rule", [FIRST_LINE, *RULES], ids=lambda rule: rule.bad)
def test_examples(rule: Rule) -> None:
    assert rule.found(rule.bad)
    assert not rule.found(rule.good)
    assert problems(Line("a.md", 1, rule.bad, opens_docstring=True))


PYTHON = '''"""Kept beside the graph."""
# told by the loop
X = 1
"""Of a thing, without a plain name."""


def f(x: int) -> int:
    """Of a row.

    Nobody waits.
    """
    if x:
        raise ValueError(f"{x}: expected a file, got none of them")
    return x + len("told")
'''


def test_python() -> None:
    """Docstrings, comments and messages are read; names, keys and numbers of lines are right."""
    found = [each for line in lines_of("a.py", PYTHON) for each in problems(line)]
    numbers = sorted(int(each.split(":")[1]) for each in found)
    assert numbers == [1, 2, 4, 8, 10, 13]


def test_markdown() -> None:
    """Text is read, code and the table of words to avoid are not."""
    code = "```\ntold\n```\n\n    told\n`told`\n\n"
    table = "| not | but |\n|---|---|\n| told | said |\n\n"
    text = f"It is told.\n\n{code}{table}told"
    found = [each for line in lines_of("a.md", text) for each in problems(line)]
    assert [int(each.split(":")[1]) for each in found] == [1, 14]


def test_settings() -> None:
    """Of a Makefile and of pyproject.toml, only comments are prose."""
    found = [
        each
        for line in lines_of("Makefile", "told:\n\techo told # told\n")
        for each in problems(line)
    ]
    assert [int(each.split(":")[1]) for each in found] == [2]
