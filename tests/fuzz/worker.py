"""A process that runs cases one after another, so that a crash ends only this process.

    python -m tests.fuzz.worker FOLDER

Each line of standard input is a kind and a number; each answer is a line of JSON. Output of the
commands is caught; output of libraries goes to standard error.
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
"""Bytes of address space that the cases may take, above what the process has before."""
_LONGEST = 8000
"""Limit on the characters of a refusal."""


def main() -> None:
    """Answer cases until standard input ends."""
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
    """Run a case; return its change, the exit codes, and a problem, "" if there is none."""
    note, actions = KINDS[kind](random.Random(f"{kind} {number}"), sources, work)
    codes, problem = [], ""
    for action in actions:
        code, stderr, stdout = caught(action)
        codes.append(code)
        problem = problem or _problem(code, stderr, stdout)
        if note.endswith(NOTHING) and code != 0:
            problem = problem or f"refused, and nothing was changed: {stderr[-500:]}"
    return {"changed": note[:300], "codes": codes, "problem": problem}


def caught(action: Action) -> tuple[int, str, str]:
    """Return the exit code of an action, its standard error and its standard output."""
    stderr, stdout = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(stdout):
        code = action()
    return code, *(each.buffer.getvalue().decode() for each in (stderr, stdout))  # type: ignore[attr-defined]


def _problem(code: int, stderr: str, stdout: str) -> str:
    """Return the problem that a user would see; "" if there is none."""
    if code == INTERNAL_ERROR or code not in (0, 1, 2):
        return f"raw, exit {code}: {stderr[-1500:]}"
    if "Traceback" in stderr:
        return f"a traceback: {stderr[-1500:]}"
    if "\x1b" in stderr or "\x1b" in stdout:
        return f"an escape sequence: {(stderr + stdout)[-500:]!r}"
    if len(stderr) > _LONGEST:
        return f"a refusal of {len(stderr)} characters: {stderr[:500]}"
    if code == 2 and not stderr.strip():
        return "refused without a message"
    return ""


def _warm_up(sources: Path) -> None:
    """Import what the commands import, before memory is limited."""
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS:
            work = Path(folder) / kind
            work.mkdir()
            answer(kind, 0, sources, work)


if __name__ == "__main__":
    main()
