"""Run `make gpu`: print the machine, run the checks and the parts, write the rows and the table."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from ancestral.errors import ParityError
from ancestral.files.atomic import write_atomically
from benchmarks.gpu import ceilings, processes
from benchmarks.gpu.checks import Outcome, command
from benchmarks.gpu.part import CHECKS, PARTS, able, has, missing
from benchmarks.gpu.processes import Log, environment
from benchmarks.gpu.records import whole_lines
from benchmarks.gpu.rows import Failed, GpuRow, Result, Skipped, recorded, table
from benchmarks.machine import machine_of_torch
from benchmarks.rows import RESULTS, append

SHARES = {CHECKS: 42, **PARTS}
"""Relative share of the time for each part; time that a part does not use goes to later parts."""
MINUTES, REHEARSAL_MINUTES = 8.0, 30.0
GRACE = 8.0
"""Seconds that a part has to finish before it is killed."""
WAIT_SHARE = 0.2
"""Fraction of the remaining time to wait for bundles."""
_VERIFIED = {"steps", "tensorrt"}
"""The parts that need bundles."""
BUNDLES = ("image", "gpt2")
_RAN = {0, 1, 5}
"""Exit statuses of pytest after a complete run: all passed, some failed, no tests."""
OUT = Path(__file__).resolve().parent / ".out"


@dataclass(slots=True)
class Run:
    """The settings and the results of a run.

    Attributes:
        rehearsal: whether this is a rehearsal on a CPU, whose numbers are not results.
        parts: parts to run, including CHECKS.
        until: time at which the run must end, in seconds of `time.monotonic`.
        folder: folder for bundles, which a later run reuses.
        work: folder for temporary files of this run.
        outs: folders for the rows.
        log: output to the screen and to a file.
        rows: rows that were written.
        failed: failures so far.
        skipped: number of skipped items.
        checks: outcome of the tests; None before they run.
    """

    rehearsal: bool
    parts: tuple[str, ...]
    until: float
    folder: Path
    work: Path
    outs: tuple[Path, ...]
    log: Log
    rows: list[GpuRow] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)
    skipped: int = 0
    checks: Outcome | None = None

    def against(self, part: str) -> str | None:
        """Return why the checks forbid a part to report a speed; None if they allow it."""
        return None if self.checks is None else self.checks.against(part)

    def note(self, result: Result, *, printed: bool = False) -> None:
        """Keep a result; write its row if its parity holds and its operator's tests passed."""
        if isinstance(result, GpuRow) and self.against(result.part) is not None:
            return
        if not printed:
            self.log.say(str(result))
        if isinstance(result, Skipped):
            self.skipped += 1
        elif isinstance(result, Failed):
            self.failed.append(result)
        else:
            self._write(result)

    def _write(self, row: GpuRow) -> None:
        try:
            for out in self.outs:
                append(row, out / f"gpu-{row.part}.jsonl")
        except (ParityError, ValueError) as error:
            self.note(Failed(f"{row.part}, {row.case}", str(error)))
        else:
            self.rows.append(row)

    @property
    def left(self) -> float:
        """Seconds left for the run."""
        return max(0.0, self.until - time.monotonic())

    def seconds(self, part: str) -> float:
        """Return a part's share of the remaining seconds."""
        rest = self.parts[self.parts.index(part) :]
        return self.left * SHARES[part] / sum(SHARES[each] for each in rest)


def check(run: Run) -> None:
    """Run the tests; a failure keeps its part from reporting a speed."""
    records, limit = run.work / "checks.jsonl", run.seconds(CHECKS)
    begin = time.monotonic()
    one_thread = environment(rehearsal=run.rehearsal) | {"OMP_NUM_THREADS": "1"}
    words = command(records, rehearsal=run.rehearsal)
    ended = processes.run(words, run.log, one_thread, limit, screen=False)
    run.checks = outcome = Outcome.read(records)
    for test, why in outcome.failed:
        run.note(Failed(test, why))
    reasons = [why for _, why in outcome.skipped]
    for why in dict.fromkeys(reasons):
        run.note(Skipped(f"{reasons.count(why)} tests", why))
    if ended.status is None:
        run.note(Failed(CHECKS, f"not finished after {limit:.0f} s; raise --minutes"))
    elif not outcome.finished or ended.status not in _RAN:
        run.note(Failed(CHECKS, f"their process {ended}; see {run.log.path}"))
    elif not outcome.passed and not outcome.failed:
        run.note(Failed(CHECKS, "no test ran"))
    run.log.say(
        f"checks: {outcome.passed} passed, {len(outcome.failed)} failed, {len(outcome.skipped)} "
        f"skipped in {time.monotonic() - begin:.0f} s"
    )


def measure(run: Run, part: str) -> None:
    """Run a part in its own process, and keep its results."""
    records, seconds = run.work / f"{part}.jsonl", run.seconds(part)
    words = ["--records", str(records), "--seconds", str(max(seconds - GRACE, 1.0))]
    words += ["--bundles", str(run.folder), "--ceilings", json.dumps(dict(ceilings.of(run.rows)))]
    words += ["--rehearse"] if run.rehearsal else []
    begin = time.monotonic()
    started = [sys.executable, "-m", "benchmarks.gpu.measure", part, *words]
    ended = processes.run(
        started, run.log, environment(rehearsal=run.rehearsal), seconds + GRACE, screen=True
    )
    for each in whole_lines(records):
        run.note(recorded(each), printed=True)
    if ended.status is None:
        run.note(Skipped(f"{part}: the rest", f"its share of {seconds:.0f} s is over"))
    elif ended.status:
        run.note(Failed(part, f"its process {ended}; see {run.log.path}"))
    if run.against(part) is not None:
        run.note(Failed(part, f"no row is written: {run.against(part)}"))
    run.log.say(f"{part}: {time.monotonic() - begin:.0f} s")


def export(run: Run) -> subprocess.Popen[str] | None:
    """Start exporting the bundles that `Engine.verify` needs, with a quarter of the CPU cores."""
    if run.rehearsal or not _VERIFIED & set(run.parts) or not has("onnx", "onnxscript"):
        return None
    cores = str(max(1, (os.cpu_count() or 1) // 4))
    hidden = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": cores}
    words = [sys.executable, "-m", "benchmarks.gpu.models", *BUNDLES, "--folder", str(run.folder)]
    return processes.start(words, run.log, environment(rehearsal=run.rehearsal) | hidden)


def exported(run: Run, exporting: subprocess.Popen[str] | None) -> None:
    """Wait at most WAIT_SHARE of the remaining time for the bundles, and report missing ones."""
    lacks, status = "it has no bundle", 0
    if exporting is not None:
        try:
            status = exporting.wait(WAIT_SHARE * run.left)
        except subprocess.TimeoutExpired:
            processes.end(exporting)
            lacks = "its bundle was not exported in time"
    if status:
        why = f"the export process {processes.Exit(status)}; see {run.log.path}"
        run.note(Failed("export", why))
    for name in ("tiny",) if run.rehearsal else BUNDLES:
        if not (run.folder / name).exists():
            advice = f"python -m benchmarks.gpu.models {name} --folder DIR, then pass --folder DIR"
            run.note(Skipped(f"Engine.verify of {name}", f"{lacks}: {advice}"))


def go(run: Run) -> int:
    """Run everything, and return the exit status."""
    exporting, waited = export(run), False
    try:
        for part in filter(able, run.parts):
            if part == CHECKS:
                check(run)
                continue
            if part in _VERIFIED and not waited:
                exported(run, exporting)
                waited = True
            measure(run, part)
    finally:
        if exporting is not None:
            processes.end(exporting)
    mark = "a rehearsal, no results: " if run.rehearsal else ""
    where = ", ".join(map(str, run.outs)) or "no folder"
    run.log.say(
        f"{mark}{len(run.rows)} rows, written to {where}; {run.skipped} skipped, "
        f"{len(run.failed)} failed; log: {run.log.path}"
    )
    for failed in run.failed:
        run.log.say(str(failed))
    for each in table(run.rows):
        run.log.write(each)
    for each in table([row for row in run.rows if row.targets]):
        run.log.say(each)
    return 1 if run.failed else 0


def main(about: str, words: list[str] | None = None) -> int:
    """Run the command, and return the exit status."""
    options = _options(about, words)
    if options.out is None:
        write_atomically(OUT / ".gitignore", b"*\n")
    log = Log((options.out or OUT) / "gpu.log")
    with closing(log), tempfile.TemporaryDirectory() as work:
        return go(_run(options, log, Path(work)))


def _run(options: argparse.Namespace, log: Log, work: Path) -> Run:
    """Create a run from the options; print the machine and the missing packages."""
    machine = machine_of_torch()
    rehearsal = options.rehearse or machine.gpu is None
    log.say(machine.line)
    if rehearsal and not options.rehearse:
        log.say(str(Skipped("all except a rehearsal on the CPU", "PyTorch sees no CUDA GPU")))
    for what, why in missing():
        log.say(str(Skipped(what, why)))
    minutes = options.minutes or (REHEARSAL_MINUTES if rehearsal else MINUTES)
    outs = () if rehearsal else (options.results,)
    return Run(
        rehearsal=rehearsal,
        parts=tuple(each for each in SHARES if each in options.parts or each == "ceilings"),
        until=time.monotonic() + 60 * minutes,
        folder=options.folder or work / "bundles",
        work=work,
        outs=(*outs, *([options.out] if options.out else [])),
        log=log,
    )


def _options(about: str, words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu",
        description=about,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    every = (CHECKS, *PARTS)
    parts = f"any of {', '.join(every)}; the ceilings are always measured"
    parser.add_argument(
        "--parts", nargs="+", choices=every, default=every, metavar="PART", help=parts
    )
    limit = f"time limit; default: {MINUTES:g}, or {REHEARSAL_MINUTES:g} for a rehearsal"
    parser.add_argument("--minutes", type=float, help=limit)
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes on the CPU, no results")
    parser.add_argument("--out", type=Path, help="another folder for rows and log")
    parser.add_argument("--folder", type=Path, help="folder for bundles, reused by later runs")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the rows")
    return parser.parse_args(words)
