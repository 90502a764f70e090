"""A part of the measurement, in a process of its own: what breaks it leaves the others whole.

    python -m benchmarks.gpu.part ceilings --records FILE --seconds 20

Started by `python -m benchmarks.gpu`. What it finds goes to the records, a line of JSON each; what
it says in a sentence to the standard output; tracebacks and the words of compilers to the standard
error.
"""

import argparse
import gc
import importlib
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu.clock import Clock
from benchmarks.gpu.floor import Ceilings, Work, name_of
from benchmarks.gpu.found import Found, find
from benchmarks.gpu.rows import Parity, Row, Target
from benchmarks.rows import commit, paired_ratio, percentiles

PARTS = (
    "ceilings",
    "cached_attention",
    "masked_attention",
    "linear",
    "sample_token",
    "steps",
)
"""Each a module of this package with a function `cells`."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not measured, and why; the others go on."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Failed:
    """What went wrong: the run ends with exit status 1."""

    what: str
    why: str


Result = Row | Skipped | Failed


@dataclass(frozen=True, slots=True)
class Bench:
    """What the cells of a part are given.

    Attributes:
        device: where everything runs.
        machine: of the rows.
        ceilings: as measured before; empty where they were not.
        until: when the part has to be over, by time.monotonic.
        bundles: folder of exported models.
        commit: of the rows.
    """

    device: torch.device
    machine: Found
    ceilings: Ceilings
    until: float
    bundles: Path
    commit: str = field(default_factory=commit)

    @property
    def rehearsal(self) -> bool:
        """Whether kernels are interpreted on tiny sizes, and nothing is a result."""
        return self.device.type == "cpu"

    @property
    def left(self) -> float:
        """Seconds of the part."""
        return self.until - time.monotonic()

    def clock(self, measure_ms: float = 40.0) -> Clock:
        """Of the device."""
        return Clock(self.device, measure_ms=measure_ms)

    def row(  # noqa: PLR0913 - a row's own fields
        self,
        case: tuple[str, str],
        dtype: torch.dtype,
        ours: tuple[float, ...],
        parity: Parity,
        *,
        unit: str = "ms",
        work: Work | None = None,
        baseline: tuple[str, tuple[float, ...]] | None = None,
        targets: Sequence[Callable[["Measured"], Target | None]] = (),
        details: Mapping[str, float] | None = None,
    ) -> Row:
        """A row of milliseconds.

        Args:
            case: the part, and the sizes in words.
            dtype: that was computed in.
            ours: milliseconds of each round.
            parity: of the same run.
            unit: of these numbers.
            work: what was done in that time, at the least.
            baseline: its name and rounds.
            targets: what is to be reached, of the ratio and the share.
            details: further numbers.
        """
        quantiles = percentiles(ours)
        floor = work.floor_ms(self.ceilings) if work is not None else None
        ratio = None if baseline is None else paired_ratio(ours, baseline[1])
        share = None if floor is None else floor[1] / quantiles["p50"]
        rate = None
        if work is not None:
            counted = work.bytes if floor is None or floor[0] == "copy" else work.operations
            rate = counted / quantiles["p50"] * 1e3
        found = [target(Measured(ratio, share)) for target in targets]
        return Row(
            part=case[0],
            case=case[1],
            dtype=name_of(dtype),
            unit=unit,
            rounds=len(ours),
            **quantiles,
            baseline=None if baseline is None else baseline[0],
            baseline_p50=None if baseline is None else float(np.median(baseline[1])),
            ratio=ratio,
            rate=rate,
            ceiling=None if floor is None else floor[0],
            share=share,
            parity=parity,
            machine=self.machine,
            commit=self.commit,
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            rehearsal=self.rehearsal,
            targets=tuple(each for each in found if each is not None),
            details=dict(details or {}),
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """What targets speak of: baseline / ours, and the share of the ceiling; None where unknown."""

    ratio: float | None
    share: float | None


def ratio_of(least: float) -> Callable[[Measured], Target | None]:
    """A target: so many times as fast as the baseline."""
    return lambda got: (
        None if got.ratio is None else Target(f"baseline / ours >= {least:g}", got.ratio >= least)
    )


def share_of(least: float) -> Callable[[Measured], Target | None]:
    """A target: that share of the ceiling."""
    return lambda got: (
        None if got.share is None else Target(f"share >= {least:g}", got.share >= least)
    )


@dataclass(frozen=True, slots=True)
class Cell:
    """A few rows that are measured together.

    Attributes:
        name: in words.
        measure: the rows, and what was skipped of them.
    """

    name: str
    measure: Callable[[Bench], Iterable[Row | Skipped]]


def results(part: str, cells: Iterable[Cell], bench: Bench) -> Iterator[Result]:
    """Of all cells in turn; what a cell breaks of itself leaves the next ones whole."""
    for cell in cells:
        what = f"{part}, {cell.name}"
        if bench.left <= 0:
            yield Skipped(what, "time")
            continue
        try:
            for result in cell.measure(bench):
                yield _judged(result)
        except Exception as error:  # noqa: BLE001 - one broken cell is one line
            traceback.print_exc()
            yield Failed(what, sentence(error))
            if not usable(bench.device):
                yield Failed(part, "the GPU's context is broken: what was left is not measured")
                return
        gc.collect()
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()


def _judged(result: Row | Skipped) -> Result:
    """No speed without parity."""
    if isinstance(result, Row) and result.parity.failures:
        what = f"{result.part}, {result.case}, {result.dtype}"
        return Failed(what, "; ".join(result.parity.failures))
    return result


def sentence(error: BaseException) -> str:
    """The kind of an error and the first line of what it says."""
    first = str(error).strip().partition("\n")[0][:300]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def usable(device: torch.device) -> bool:
    """Whether the device still answers: after some errors a process has lost it."""
    if device.type == "cpu":
        return True
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        traceback.print_exc()
        return False
    return True


def record(result: Result) -> str:
    """A line of JSON."""
    kind = type(result).__name__
    return json.dumps({kind: asdict(result)})


def recorded(line: str) -> Result:
    """A result from its line."""
    ((kind, values),) = json.loads(line).items()
    match kind:
        case "Row":
            return Row.from_json(json.dumps(values))
        case "Skipped":
            return Skipped(**values)
        case _:
            return Failed(**values)


def said(result: Result) -> str:
    """In a sentence."""
    if isinstance(result, Skipped):
        return f"skipped: {result.what}, because {result.why}"
    if isinstance(result, Failed):
        return f"FAILED: {result.what}: {result.why}"
    beside = "" if result.ratio is None else f", {result.ratio:.2f} x {result.baseline}"
    share = "" if result.share is None else f", {result.share:.0%} of {result.ceiling}"
    mark = "  (rehearsal)" if result.rehearsal else ""
    return (
        f"{result.part}, {result.case}, {result.dtype}: {result.p50:.4g} {result.unit} "
        f"[{result.p20:.4g}, {result.p80:.4g}]{beside}{share}, "
        f"error {result.parity.error:.1e} of {result.parity.limit:.1e}{mark}"
    )


def main(words: list[str] | None = None) -> int:
    """Measure a part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--bundles", type=Path, required=True)
    parser.add_argument("--ceilings", type=json.loads, default={})
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args(words)
    until = time.monotonic() + options.seconds
    device = torch.device("cpu" if options.rehearse else "cuda:0")
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    bench = Bench(device, find(), options.ceilings, until, options.bundles)
    module = importlib.import_module(f"benchmarks.gpu.{options.part}")
    cells: Iterable[Cell] = module.cells(bench)
    with options.records.open("a") as records, torch.no_grad():
        for result in results(options.part, cells, bench):
            records.write(record(result) + "\n")
            records.flush()
            print(said(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
