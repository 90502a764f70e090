"""Commands in child processes with limits on memory and time, and their exit status and output."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.limited import CPU_SECONDS, ROOT

_PROGRAM = """
import json, os, sys
import numpy, rich.console, rich.table
import ancestral.bundles.bundle, ancestral.cli.info
from ancestral.cli.main import run
from tests.limited import limit

def limited(words, file):
    output = os.open(file, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(output, 1)
    os.dup2(output, 2)
    limit()
    os._exit(run(words))

for line in sys.stdin:
    words, file = json.loads(line)
    child = os.fork()
    if not child:
        limited(words, file)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps(code), flush=True)
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of a command: its exit status, negative for a signal, and all its output."""

    status: int
    output: str


def run_guarded(commands: Sequence[Sequence[str | Path]], folder: Path) -> list[Ending]:
    """Run commands of `ancestral` in sequence, each in a child process.

    Args:
        commands: words of each command.
        folder: folder for their output.
    """
    files = [folder / f"{i}.output" for i in range(len(commands))]
    lines = [
        json.dumps([[str(word) for word in words], str(file)])
        for words, file in zip(commands, files, strict=True)
    ]
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        input="\n".join(lines),
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        timeout=60 + 2 * CPU_SECONDS * len(commands),
    )
    codes = [json.loads(line) for line in done.stdout.splitlines()]
    return [
        Ending(code, file.read_bytes().decode(errors="replace"))
        for code, file in zip(codes, files, strict=True)
    ]
