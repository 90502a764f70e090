"""Rows of results, one for each installation, and their table."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from benchmarks.report import replaced

Outcome = Literal["passed", "failed", "no wheel"]
PACKAGES = ("numpy", "torch", "onnxruntime", "onnx")
BEGIN = "<!-- installs:begin -->"
END = "<!-- installs:end -->"


@dataclass(frozen=True, slots=True)
class Row:
    """Result of one installation in its own environment.

    Attributes:
        python: version of the interpreter.
        extra: cpu, or train,export,cpu.
        asked: which versions pip was to install.
        versions: installed versions of `PACKAGES`.
        outcome: whether every check passed; "no wheel" if a runtime has none for this Python, which
            is neither passed nor failed.
        error: first line of the error; empty if every check passed.
        system: operating system and architecture.
        date: date of the run, UTC.
    """

    python: str
    extra: str
    asked: str
    versions: dict[str, str]
    outcome: Outcome
    error: str
    system: str
    date: str

    @property
    def cell(self) -> tuple[str, str, str, str]:
        """Cell of the table; a later row replaces an earlier one of the same cell."""
        minor = ".".join(self.python.split(".")[:2])
        return self.system, minor, self.extra, self.asked


def append(file: Path, rows: Sequence[Row]) -> None:
    """Add rows to a file of JSON lines."""
    with file.open("a") as out:
        out.writelines(json.dumps(asdict(row)) + "\n" for row in rows)


def read(file: Path) -> list[Row]:
    """Return the rows of a file; empty if it does not exist."""
    lines = file.read_text().splitlines() if file.exists() else []
    return [Row(**json.loads(line)) for line in lines]


def latest(rows: Sequence[Row]) -> list[Row]:
    """Return the last row of each cell, in order of system, Python, extra and versions."""
    kept = {row.cell: row for row in rows}
    return [kept[cell] for cell in sorted(kept, key=lambda cell: (cell[0], _order(cell[1]), cell))]


def _order(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]


def table(rows: Sequence[Row]) -> str:
    """Return a table of the rows in Markdown."""
    head = ("Python", *PACKAGES, "extra", "versions", "result")
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in rows:
        found = [row.versions.get(name, "") for name in PACKAGES]
        result = f"{row.outcome}: {row.error}" if row.error else row.outcome
        cells = (row.python, *found, f"`[{row.extra}]`", row.asked, result.replace("|", "\\|"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def page(text: str, rows: Sequence[Row]) -> str:
    """Return a page's text with the tables of all systems between its markers."""
    shown = latest(rows)
    parts = []
    for system in dict.fromkeys(row.system for row in shown):
        group = [row for row in shown if row.system == system]
        dates = sorted({row.date[:10] for row in group})
        when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
        parts.append(f"{system}, {when}:\n\n{table(group)}")
    return replaced(text, "\n".join(parts), BEGIN, END)
