"""Bits/byte of models, xz and zstd on the test files of Python's standard library.

    ancestral train --recipe text-small --data python --steps 700 -o run
    python -m benchmarks.python_source run

It exports each checkpoint, scores the test files with the bundle on ONNX Runtime, compresses them
with the programs, and appends one row each to results/python-source.jsonl. The checkpoint has the
record of the files that it was trained on; other files are refused. Nothing is chosen on the test
part. `--table` prints the latest rows in Markdown.

Each coder is measured twice: on each file on its own, which begins with nothing seen, and on all
files joined. A model has seen the training part, which xz and zstd have not; one row compresses the
training part with xz first and counts what the test part adds.
"""

import argparse
import lzma
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ancestral.engine import AutoregressiveEngine, Engine
from ancestral.export.bundle import export_bundle
from ancestral.train.checkpoint import load_checkpoint
from ancestral.train.data.python_source import python_texts
from ancestral.train.data.source_record import SourceRecord
from benchmarks.machine import Machine, commit, this_machine
from benchmarks.rows import RESULTS, append_record, now, read

FILE = RESULTS / "python-source.jsonl"
GIVEN = "xz -9e, given the training part"
Bits = Callable[[bytes], float]
"""Returns the bits that a coder needs for a text."""


@dataclass(frozen=True, slots=True)
class CoderRow:
    """The bits/byte of a model or a program on the test files.

    Attributes:
        coder: name of the recipe and number of parameters, or command line of the program.
        each: bits/byte with each file on its own; None if it was not measured.
        joined: bits/byte of all files joined.
        version: version of the program, or steps and seconds of the training.
        corpus: SHA-256 of the corpus.
        python: version of the Python whose files these are.
        files: number of test files.
        size: bytes of the test files.
        machine: machine of the run.
        commit: commit of the code.
        date: UTC time at which the row was made.
    """

    coder: str
    each: float | None
    joined: float
    version: str
    corpus: str
    python: str
    files: int
    size: int
    machine: Machine = field(default_factory=this_machine)
    commit: str = field(default_factory=commit)
    date: str = field(default_factory=now)


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The test files.

    Attributes:
        source: record of the corpus.
        texts: bytes of each file.
    """

    source: SourceRecord
    texts: Sequence[bytes]

    def row(self, coder: str, version: str, bits: Bits) -> CoderRow:
        """Return the row of a coder."""
        each = sum(bits(text) for text in self.texts) / self.size
        return self._row(coder, each, bits(b"".join(self.texts)) / self.size, version)

    def given(self, before: bytes, coder: str, version: str, bits: Bits) -> CoderRow:
        """Return the row of a coder that has coded another text before the joined files."""
        added = bits(before + b"".join(self.texts)) - bits(before)
        return self._row(coder, None, added / self.size, version)

    @property
    def size(self) -> int:
        """Number of bytes of all files."""
        return sum(map(len, self.texts))

    def _row(self, coder: str, each: float | None, joined: float, version: str) -> CoderRow:
        source = self.source
        count = len(self.texts)
        return CoderRow(
            coder, each, joined, version, source.sha256, source.python, count, self.size
        )


def model_row(folder: Path, test: HeldOut, threads: int) -> CoderRow:
    """Return the row of a checkpoint; its bundle is exported to a temporary folder."""
    model, checkpoint = load_checkpoint(folder)
    summary = checkpoint.config.summary
    assert summary is not None
    count = sum(each.numel() for each in model.parameters())
    with tempfile.TemporaryDirectory() as work:
        bundle = export_bundle(model, Path(work) / "bundle", own=True)
        engine = Engine.load(bundle, threads=threads)
        assert isinstance(engine, AutoregressiveEngine)

        def bits(text: bytes) -> float:
            found = engine.text_likelihood(np.frombuffer(text, np.uint8).astype(np.int64))
            return found.bits_per_byte(len(text)) * len(text)

        version = f"{summary.steps:,} steps, {summary.seconds:.0f} s"
        return test.row(f"{summary.recipe}, {count:,} parameters", version, bits)


def xz(text: bytes) -> float:
    """Return the bits of a text that `xz -9e` compressed."""
    return 8.0 * len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))


def zstd(text: bytes) -> float:
    """Return the bits of a text that `zstd --ultra -22` compressed."""
    done = subprocess.run(
        ["zstd", "--ultra", "-22", "-c"], input=text, capture_output=True, check=True
    )
    return 8.0 * len(done.stdout)


def program_rows(test: HeldOut) -> list[CoderRow]:
    """Return the rows of the programs; zstd is left out where it is not installed."""
    before = b"".join(python_texts("train", expected=test.source).values())
    version = "Python's lzma"
    rows = [test.row("xz -9e", version, xz), test.given(before, GIVEN, version, xz)]
    if shutil.which("zstd") is None:
        print("zstd: no such program; its row is left out")
        return rows
    shown = subprocess.run(["zstd", "-V"], capture_output=True, text=True, check=True).stdout
    number = next(word for word in shown.split() if word.startswith("v")).strip("v,")
    return [*rows, test.row("zstd --ultra -22", f"zstd {number}", zstd)]


def table(rows: Sequence[CoderRow]) -> str:
    """Return the latest row of each coder as a Markdown table, the best on joined files first."""
    latest = {row.coder: row for row in rows}
    lines = ["| coder | each file on its own | all files joined | version |", "|---|---|---|---|"]
    for row in sorted(latest.values(), key=lambda row: row.joined):
        each = "" if row.each is None else f"{row.each:.3f}"
        lines.append(f"| {row.coder} | {each} | {row.joined:.3f} | {row.version} |")
    last = rows[-1]
    return (
        "\n".join(lines)
        + f"\n\nBits/byte of {last.files} files, {last.size:,} bytes, of Python {last.python}; "
        f"SHA-256 of the corpus {last.corpus}.\n"
    )


def main() -> None:
    """Append one row per checkpoint and program, or print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoints", nargs="*", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--results", type=Path, default=FILE)
    parser.add_argument("--table", action="store_true", help="print the table, measure nothing")
    options = parser.parse_args()
    if options.table:
        print(table(read(CoderRow, options.results)), end="")
        return
    if not options.checkpoints:
        parser.error("CHECKPOINT: expected at least one folder")
    source = load_checkpoint(options.checkpoints[0])[1].source
    if source is None:
        parser.error(f"{options.checkpoints[0]}: expected a checkpoint of --data python")
    test = HeldOut(source, list(python_texts("test", expected=source).values()))
    rows = [model_row(each, test, options.threads) for each in options.checkpoints]
    for row in [*rows, *program_rows(test)]:
        print(append_record(row, options.results), flush=True)


if __name__ == "__main__":
    main()
