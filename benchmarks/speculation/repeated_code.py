"""Prompts of code that repeats itself: functions of Python's standard library with new names."""

import ast
import re
import textwrap
from collections.abc import Iterator, Mapping

TIMES = 3
"""Functions of a prompt."""
_SHORTEST, _LONGEST = 60, 90
"""Bytes of a function, so that three of them leave room for the continuation."""


def prompts(files: Mapping[str, bytes]) -> list[str]:
    """Return a prompt for each file that has a function of a suitable length, in their order.

    A prompt is the first such function, three times: `name_1`, `name_2` and `name_3`.

    Args:
        files: source files of Python by their paths.
    """
    found = (next(_functions(source), None) for source in files.values())
    return [_repeated(*each) for each in found if each is not None]


def _functions(source: bytes) -> Iterator[tuple[str, str]]:
    """Yield the names and the sources of the functions of a suitable length, in ASCII."""
    if not source.isascii():
        return
    text = source.decode()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            lines = text.splitlines()[node.lineno - 1 : node.end_lineno]
            body = textwrap.dedent("\n".join(lines)) + "\n"
            if _SHORTEST <= len(body) <= _LONGEST:
                yield node.name, body


def _repeated(name: str, body: str) -> str:
    """Return a function under three names, each followed by an empty line."""
    start = re.compile(rf"def {re.escape(name)}\b")
    return "".join(
        start.sub(f"def {name}_{number}", body, count=1) + "\n" for number in range(1, TIMES + 1)
    )
