"""Print each turn of phrase that the house style refuses; a part of `make checks`."""

import sys
from pathlib import Path

from .lines import Line, tracked_lines
from .rules import FIRST_LINE, RULES


def problems(line: Line) -> list[str]:
    """Return one message for each rule that a line breaks."""
    rules = (FIRST_LINE, *RULES) if line.opens_docstring else RULES
    return [
        f"{line.file}:{line.number}: {words!r}: write {rule.instead}"
        for rule in rules
        if (words := rule.found(line.text))
    ]


def main() -> int:
    """Check the whole repository; return the exit code."""
    found = [each for line in tracked_lines(Path.cwd()) for each in problems(line)]
    print("\n".join(found) or "prose: nothing to change")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
