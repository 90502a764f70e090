"""Shorten long texts and lists for error messages; `arrays.shown` does so for other values."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST_VALUE = 80
LONGEST_LINE, LONGEST_REPORT = 300, 1500
MOST_LINES = 20


_PYDANTIC = {
    "Input should be": "expected",
    "greater than or equal to": "a number >=",
    "less than or equal to": "a number <=",
    "greater than": "a number >",
    "less than": "a number <",
    "Field required": "missing",
    "Extra inputs are not permitted": "unknown field",
    "Dictionary should have": "expected",
    "List should have": "expected",
    "String should have": "expected",
    "Tuple should have": "expected",
    "String should match pattern": "expected a string of the form",
}
"""Replacements in pydantic's messages."""


def cut(text: str, longest: int = LONGEST_LINE) -> str:
    """Cut a text to `longest` characters; a text that was cut ends in three dots."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def quoted(text: str) -> str:
    """Return a text of a user in quotes, as errors show it, cut if it is long."""
    return repr(cut(text, LONGEST_VALUE))


def report(what: str, problems: Iterable[str]) -> str:
    r"""Return `what` followed by the problems, one per line; after the first ones, their number.

    The middle of a long problem is left out, and a line break inside one is printed as `\n`.
    The report has at most 2,000 characters if `what` has at most 300.

    >>> print(report("config.json", (f"field {i}: unknown" for i in range(10_000))))
    config.json:
      - field 0: unknown
      - field 1: unknown
      - field 2: unknown
      - field 3: unknown
      - field 4: unknown
      - field 5: unknown
      - field 6: unknown
      - field 7: unknown
      - field 8: unknown
      - field 9: unknown
      - field 10: unknown
      - field 11: unknown
      - field 12: unknown
      - field 13: unknown
      - field 14: unknown
      - field 15: unknown
      - field 16: unknown
      - field 17: unknown
      - field 18: unknown
      - field 19: unknown
      - and 9,980 more
    """
    lines: list[str] = []
    size = more = 0
    for problem in problems:
        size += min(len(problem), LONGEST_LINE)
        # The first problem always fits: a line is shorter than a report.
        if len(lines) < MOST_LINES and size <= LONGEST_REPORT:
            lines.append(f"  - {_line(problem)}")
        else:
            more += 1
    if more:
        lines.append(f"  - and {more:,} more")
    return f"{what}:\n" + "\n".join(lines)


def problems_of(error: "ValidationError") -> Iterator[str]:
    """Yield each problem that pydantic found, with its place in the document."""
    # The input is left out: a value may be as large as the file.
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        yield f"{'.'.join(map(str, each['loc'])) or 'top level'}: {expectation(each['msg'])}"


def expectation(message: str) -> str:
    """Return a message of pydantic in the words of other errors.

    >>> expectation("Input should be less than or equal to 3")
    'expected a number <= 3'
    """
    message = message.removeprefix("Value error, ").partition(" after validation")[0]
    for theirs, ours in _PYDANTIC.items():
        message = message.replace(theirs, ours)
    return message


def _line(problem: str) -> str:
    r"""Return a problem on one line; the middle of a long one is left out.

    >>> _line("two\nlines"), len(_line("x" * 1000)), _line("x" * 1000 + "end")[-4:]
    ('two\\nlines', 299, 'xend')
    """
    line = "\\n".join(problem.splitlines())
    half = (LONGEST_LINE - 3) // 2
    return line if len(line) <= LONGEST_LINE else f"{line[:half]}...{line[-half:]}"
