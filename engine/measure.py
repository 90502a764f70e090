"""Time and memory of a bundle on a backend, beside the parity of the same run.

Every backend is measured in a process of its own, so that its memory is its own, and after another
process has loaded the bundle once: what a runtime keeps for the next load is there.
"""

import contextlib
import importlib
import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral import errors
from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends import BACKENDS
from ancestral.engine.measure_latent import LatentMeasureRow, measure_latent
from ancestral.engine.noise import Noise
from ancestral.engine.open import AutoregressiveEngine
from ancestral.engine.session import Array, Binding
from ancestral.errors import AncestralError, InvalidInput
from ancestral.scalars import whole

ROUND_SECONDS = 10.0
"""Steps of one round: where all positions would take longer, only some are timed."""
LEAST_STEPS = 64
"""Positions that are timed however long they take."""
_WARM_UP = 3


class MeasurementFailed(AncestralError, RuntimeError):
    """The process that measured ended without rows."""


@dataclass(frozen=True, slots=True)
class MeasureRow:
    """One backend at one batch size.

    Attributes:
        backend: its name.
        device: where it ran.
        threads: of the runtime; None is its own choice.
        batch: rows of the loop, and events of the log-probabilities.
        steps: how many single steps were timed, over all rounds.
        load_s: from the path to a graph that samples, in seconds; the second load, so that the
            bundle's hashes are remembered.
        step_ms_p50: median time of one position of the whole batch, in milliseconds.
        step_ms_p95: 95th percentile.
        step_ms_p99: 99th percentile.
        samples_per_s: whole events drawn a second: noise, copies and all positions.
        log_prob_events_per_s: whole events evaluated a second.
        peak_memory_mb: largest resident memory of the process through loading and sampling, less
            what it held after its imports, in 10^6 bytes; a GPU's own memory is not in it. Batches
            grow within one process, so that it is never less than at a smaller batch.
        max_abs_nats: largest |delta log p| of an event against the reference, in nats.
        unexplained: drawn values that differ from the reference and are no near ties.
        passed: whether every check of `verify` passed.
    """

    backend: str
    device: str
    threads: int | None
    batch: int
    steps: int
    load_s: float
    step_ms_p50: float
    step_ms_p95: float
    step_ms_p99: float
    samples_per_s: float
    log_prob_events_per_s: float
    peak_memory_mb: float
    max_abs_nats: float
    unexplained: int
    passed: bool

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Request:
    """What a measuring process is asked; without batches it only loads."""

    path: str
    backend: str
    batches: tuple[int, ...]
    device: str
    threads: int | None
    rounds: int


@dataclass(frozen=True, slots=True)
class _Steps:
    """Times of single steps in milliseconds, and seconds of a whole batch of events."""

    milliseconds: NDArray[np.float64]
    batch_s: float


def measure_engine(
    path: str | Path,
    backend: str,
    batches: Sequence[int],
    *,
    device: str = "cpu",
    threads: int | None = None,
    rounds: int = 3,
) -> list[MeasureRow] | list[LatentMeasureRow]:
    """Measure a bundle on a backend: a row for each batch size, in rising order.

    Args:
        path: the bundle's directory; an autoregressive one needs the graphs log_prob, logits,
            redraw and step.
        backend: its name.
        batches: numbers of rows, or of events.
        device: cpu, cuda or cuda:N.
        threads: of the runtime; its own choice where None.
        rounds: passes over the positions, or calls, after a warm-up.

    Raises:
        BundleError: the bundle is not sound, or lacks a graph.
        BackendUnavailable: the backend cannot run here.
        InvalidInput: an argument is wrong.
        MeasurementFailed: the measuring process broke down.
    """
    if backend not in BACKENDS:
        raise InvalidInput(f"backend: expected one of {list(BACKENDS)}, got {backend!r}")
    if not batches:
        raise InvalidInput("batches: expected at least one number of rows, got none")
    rows = tuple(sorted({whole("batch", batch, 1) for batch in batches}))
    rounds = whole("rounds", rounds, 1)
    latent = Bundle.open(path).manifest.latent is not None
    _in_process(_Request(str(path), backend, (), device, threads, rounds))
    found = _in_process(_Request(str(path), backend, rows, device, threads, rounds))
    if latent:
        return [LatentMeasureRow(**row) for row in found]
    return [MeasureRow(**row) for row in found]


def memory_now() -> int:
    """Resident memory of this process in bytes; its peak where the system does not tell (macOS)."""
    return _status("VmRSS") or _peak_by_rusage()


def memory_peak() -> int:
    """Largest resident memory that this process had, in bytes.

    Linux tells it for the program itself; getrusage's number begins with that of the process that
    started it.
    """
    return _status("VmHWM") or _peak_by_rusage()


def _status(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None


def _peak_by_rusage() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _in_process(request: _Request) -> list[dict[str, Any]]:
    """Run a request in a process of its own; an error of ours is raised here again."""
    # By -P no module of the working folder is imported; it may be a stranger's.
    words = json.dumps(asdict(request))
    command = [sys.executable, "-P", "-m", "ancestral.engine.measure", words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        answer = json.loads(done.stdout.strip().rpartition("\n")[2])
    except ValueError:
        answer = None
    if done.returncode or not isinstance(answer, dict):
        said = done.stderr.strip()[-2000:] or "nothing"
        raise MeasurementFailed(
            f"measuring {request.path} on backend {request.backend!r}: expected rows, but the "
            f"process ended with status {done.returncode} (a negative one is a signal, -9 often "
            f"means that memory ran out) and said: {said}"
        )
    if "error" in answer:
        kind = getattr(errors, str(answer["error"]), MeasurementFailed)
        raise kind(answer["message"])
    return list(answer["rows"])


def main() -> None:
    """The measuring process: a request as JSON in, rows or an error as JSON on the last line."""
    values = json.loads(sys.argv[1])
    request = _Request(**{**values, "batches": tuple(values["batches"])})
    answer: Mapping[str, object]
    try:
        answer = {"rows": [row.to_json() for row in _measure(request)]}
    except AncestralError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def _measure(request: _Request) -> list[MeasureRow] | list[LatentMeasureRow]:
    # A runtime that is missing is named by AutoregressiveEngine.load.
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(f"ancestral.engine.backends.{request.backend}")
    before = memory_now()
    if Bundle.open(request.path).manifest.latent is not None:
        return measure_latent(
            request.path,
            request.backend,
            request.batches,
            request.device,
            request.threads,
            request.rounds,
            lambda: max(0, memory_peak() - before),
        )
    begin = time.perf_counter()
    engine = AutoregressiveEngine.load(
        request.path, backend=request.backend, device=request.device, threads=request.threads
    )
    engine.session("step")
    load_s = time.perf_counter() - begin
    if not request.batches:
        return []
    timed, peaks = [], []
    for batch in request.batches:
        timed.append(_time_steps(engine, batch, request.rounds))
        peaks.append(max(0, memory_peak() - before))
    rates = [_log_prob_rate(engine, batch, request.rounds) for batch in request.batches]
    parity = engine.verify()
    return [
        MeasureRow(
            backend=request.backend,
            device=engine.backend.device,
            threads=request.threads,
            batch=batch,
            steps=len(steps.milliseconds),
            load_s=load_s,
            step_ms_p50=float(np.percentile(steps.milliseconds, 50)),
            step_ms_p95=float(np.percentile(steps.milliseconds, 95)),
            step_ms_p99=float(np.percentile(steps.milliseconds, 99)),
            samples_per_s=batch / steps.batch_s,
            log_prob_events_per_s=rate,
            peak_memory_mb=peak / 1e6,
            max_abs_nats=parity.max_abs_nats,
            unexplained=parity.unexplained,
            passed=parity.passed,
        )
        for batch, steps, peak, rate in zip(request.batches, timed, peaks, rates, strict=True)
    ]


def _time_steps(engine: AutoregressiveEngine, batch: int, rounds: int) -> _Steps:
    """Sample a batch `rounds` times and time each step.

    Where all positions take longer than ROUND_SECONDS, evenly spaced ones are timed: a position is
    then set by hand, for the time of a step depends on where it is, not on what is in the cache.
    """
    first, t = engine.bundle.manifest.first_position, engine.data.length
    binding = engine.session("step").bind({"b": batch, "s": 1})
    on_device = engine.backend.device != "cpu"
    _write(binding, _start(engine, batch))
    for _ in range(_WARM_UP):
        _timed_step(binding, on_device)
    binding.write("position", np.full(batch, t - 1, np.int64))
    slowest = max(min(_timed_step(binding, on_device) for _ in range(_WARM_UP)), 1e-9)
    most = max(LEAST_STEPS, math.floor(ROUND_SECONDS / slowest))
    positions = np.unique(np.linspace(first, t - 1, min(most, t - first)).astype(np.int64))
    seconds, around = [], []
    for _ in range(rounds):
        begin = time.perf_counter()
        _write(binding, _start(engine, batch))
        written = time.perf_counter() - begin
        reached = first
        for position in positions:
            if position != reached:
                binding.write("position", np.full(batch, position, np.int64))
            seconds.append(_timed_step(binding, on_device))
            reached = position + 1
        begin = time.perf_counter()
        binding.read("values")
        binding.read("log_p")
        around.append(written + time.perf_counter() - begin)
    step = np.array(seconds)
    return _Steps(step * 1e3, float(np.median(around) + step.mean() * (t - first)))


def _start(engine: AutoregressiveEngine, batch: int) -> dict[str, Array]:
    """What the step graph is given at the beginning: nothing is observed that may be drawn."""
    first, t = engine.bundle.manifest.first_position, engine.data.length
    observed = np.full((batch, t), -1, np.int64)
    observed[:, :first] = 0
    arrays: dict[str, Array] = {
        "u": Noise(0, 0).uniforms(batch, t),
        "observed": observed,
        "values": np.maximum(observed, 0),
        "log_p": np.zeros((batch, t), np.float32),
        "position": np.full(batch, first, np.int64),
    }
    labels = _labels(engine, batch)
    return arrays if labels is None else arrays | {"label": labels}


def _labels(engine: AutoregressiveEngine, batch: int) -> NDArray[np.int64] | None:
    classes = engine.data.num_classes
    return None if classes is None else np.arange(batch, dtype=np.int64) % classes


def _write(binding: Binding, arrays: Mapping[str, Array]) -> None:
    for name, array in arrays.items():
        binding.write(name, array)


def _timed_step(binding: Binding, on_device: bool) -> float:
    """Seconds of one step; a device may return before it is done, so that it is asked."""
    begin = time.perf_counter()
    binding.run(1)
    if on_device:
        binding.read("position")
    return time.perf_counter() - begin


def _log_prob_rate(engine: AutoregressiveEngine, batch: int, rounds: int) -> float:
    """Events evaluated a second, by the median round; a slow one is not repeated."""
    u = Noise(1, 0).uniforms(batch, engine.data.length)
    x = (u * engine.data.levels).astype(np.int64)
    labels = _labels(engine, batch)
    seconds: list[float] = []
    # The first call allocates; it counts where there is time for no other.
    while len(seconds) <= rounds and sum(seconds) < ROUND_SECONDS:
        begin = time.perf_counter()
        engine.log_prob(x, labels=labels)
        seconds.append(time.perf_counter() - begin)
    return batch / float(np.median(seconds[1:] or seconds))


if __name__ == "__main__":
    main()
