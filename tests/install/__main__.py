"""Install the wheel with each Python of this machine, and check what was installed.

    python -m tests.install                       python3.11 to python3.14, if found
    python -m tests.install python3.13 --versions newest

For each Python, the wheel is installed into a new environment as [cpu] and as [train,export,cpu]:
PyTorch first, other packages in the newest versions that pip finds. Rows are appended to rows.jsonl
next to this file, and docs/installing.md shows the latest. The exit status is 1 if an installation
fails, and 2 if a named Python does not run.
"""

import argparse
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from ancestral.files.atomic import write_atomically
from tests.install.bundles import export_bundles
from tests.install.environment import Installation, try_out
from tests.install.interpreters import NAMES, Interpreter, find
from tests.install.requirements import EXTRAS, Versions
from tests.install.rows import Outcome, Row, append, page, read, table
from tests.wheel import ROOT, build, copy_project

ROWS = Path(__file__).with_name("rows.jsonl")
PAGE = ROOT / "docs" / "installing.md"


def main(words: Sequence[str] | None = None) -> int:
    """Try all installations; return the exit status."""
    options = _parser().parse_args(words)
    found = {name: find(name, os.environ) for name in options.pythons or NAMES}
    missing = [name for name, interpreter in found.items() if interpreter is None]
    if missing:
        print(f"not found: {', '.join(missing)}", file=sys.stderr)
    pythons = {each.version: each for each in found.values() if each is not None}
    if not pythons or (missing and options.pythons):
        print(
            "expected the name or the path of a Python: PYTHONS='python3.12 ...'", file=sys.stderr
        )
        return 2
    with tempfile.TemporaryDirectory() as folder:
        wheel = build("wheel", copy_project(Path(folder) / "project"), Path(folder) / "wheel")
        export_bundles(Path(folder))
        each = [
            Installation(wheel, Path(folder), extra, options.versions) for extra in options.extras
        ]
        rows = _tried(list(pythons.values()), each)
    append(options.rows, rows)
    write_atomically(options.page, page(options.page.read_text(), read(options.rows)).encode())
    return verdict(rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.install", description=__doc__.splitlines()[0]
    )
    parser.add_argument("pythons", nargs="*", metavar="PYTHON", help="names or paths")
    parser.add_argument("--versions", choices=get_args(Versions), default="pinned")
    parser.add_argument("--extras", nargs="+", choices=EXTRAS, default=list(EXTRAS))
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--page", type=Path, default=PAGE)
    return parser


def _tried(pythons: Sequence[Interpreter], installations: Sequence[Installation]) -> list[Row]:
    rows = []
    for python in pythons:
        for what in installations:
            print(f"Python {python.version} [{what.extra}], {what.versions}: ", end="", flush=True)
            rows.append(try_out(python, what))
            print(f"{rows[-1].outcome} {rows[-1].error}".rstrip(), flush=True)
    return rows


def verdict(rows: Sequence[Row]) -> int:
    """Print the table and its counts; return 1 if an installation failed or none passed."""
    print(f"\n{table(rows)}")
    counts = Counter(row.outcome for row in rows)
    passed, failed, without = (counts[each] for each in get_args(Outcome))
    print(f"{passed} passed, {failed} failed, {without} without a wheel")
    return int(failed > 0 or passed == 0)


if __name__ == "__main__":
    sys.exit(main())
