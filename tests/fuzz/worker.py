"""A process that runs cases one after another, so that a crash ends a process and is counted.

    python -m tests.fuzz.worker FOLDER

Each line of standard input is a kind and a number; each answer is a line of JSON. What the commands
print is caught; what libraries print goes to standard error.
"""

import contextlib
import io
import json
import os
import random
import sys
import tempfile
from pathlib import Path

from ancestral.cli.main import INTERNAL_ERROR
from tests.fuzz.cases import KINDS, Action
from tests.fuzz.control import NOTHING
from tests.limited import limit

_MEMORY = 3 * 2**30
"""Bytes of address space above what the process has when it begins."""
_LONGEST = 8000
"""Characters that a refusal has at most."""


def main() -> None:
    """Answer until standard input ends."""
    sources = Path(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _warm_up(sources)
    limit(_MEMORY, seconds=None)
    for line in sys.stdin:
        kind, number = line.split()
        with tempfile.TemporaryDirectory(prefix="case-") as folder:
            print(json.dumps(answer(kind, int(number), sources, Path(folder))), file=answers)
        answers.flush()


def answer(kind: str, number: int, sources: Path, work: Path) -> dict[str, object]:
    """What was changed, the exit codes, and what is wrong with the answers, if anything is."""
    told, actions = KINDS[kind](random.Random(f"{kind} {number}"), sources, work)
    codes, problem = [], ""
    for action in actions:
        code, said, shown = caught(action)
        codes.append(code)
        problem = problem or _problem(code, said, shown)
        if told.endswith(NOTHING) and code != 0:
            problem = problem or f"refused, and nothing was changed: {said[-500:]}"
    return {"changed": told[:300], "codes": codes, "problem": problem}


def caught(action: Action) -> tuple[int, str, str]:
    """The exit code of an action, its standard error and its standard output."""
    said, shown = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(shown):
        code = action()
    return code, *(each.buffer.getvalue().decode() for each in (said, shown))  # type: ignore[attr-defined]


def _problem(code: int, said: str, shown: str) -> str:
    """What a user would call a fault; empty where there is none."""
    if code == INTERNAL_ERROR or code not in (0, 1, 2):
        return f"raw, exit {code}: {said[-1500:]}"
    if "Traceback" in said:
        return f"a traceback: {said[-1500:]}"
    if "\x1b" in said or "\x1b" in shown:
        return f"an escape sequence: {(said + shown)[-500:]!r}"
    if len(said) > _LONGEST:
        return f"a refusal of {len(said)} characters: {said[:500]}"
    if code == 2 and not said.strip():
        return "refused without a word"
    return ""


def _warm_up(sources: Path) -> None:
    """Import what the commands import, before memory is bounded."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            work = Path(folder) / kind
            work.mkdir()
            answer(kind, 0, sources, work)


if __name__ == "__main__":
    main()
