"""What an error says of texts and lists that may be of any length; of a value, `arrays.shown`."""

from collections.abc import Iterable

LONGEST_LINE, LONGEST_REPORT = 300, 1500
MOST_LINES = 12


def cut(text: str, longest: int = LONGEST_LINE) -> str:
    """A text of at most so many characters, and three dots where it was longer."""
    return text if len(text) <= longest else f"{text[:longest]}..."


def report(what: str, problems: Iterable[str]) -> str:
    """What is wrong, and the problems, one a line: the first ones, and how many there are more.

    In all it has at most 2,000 characters, where what is wrong is said in 300.

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
      - and 9,988 more
    """
    lines: list[str] = []
    size = more = 0
    for problem in problems:
        size += min(len(problem), LONGEST_LINE)
        # The first one is said in any case: a line is shorter than a report.
        if len(lines) < MOST_LINES and size <= LONGEST_REPORT:
            lines.append(f"  - {cut(problem)}")
        else:
            more += 1
    if more:
        lines.append(f"  - and {more:,} more")
    return f"{what}:\n" + "\n".join(lines)
