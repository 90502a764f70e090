"""Measure time and memory of a bundle on a backend, with the parity of the same run.

A backend is measured in a separate process, so that only its memory is counted. Another process
loads the bundle once before, so that the caches that a runtime keeps for the next load exist.
"""

import contextlib
import importlib
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ancestral import errors
from ancestral.bundles.bundle import Bundle
from ancestral.engine.backends import BACKENDS
from ancestral.engine.open import AutoregressiveEngine, LatentEngine
from ancestral.engine.speeds import latent_speeds, log_prob_rate, step_speeds
from ancestral.engine.timing import (
    MeasurementFailed,
    in_process,
    memory_now,
    memory_peak,
)
from ancestral.errors import AncestralError, InvalidInput
from ancestral.scalars import whole
from ancestral.threads import ThreadCount, is_measured


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRow:
    """Measurements of one backend at one batch size that all kinds of bundles have.

    Attributes:
        backend: name of the backend.
        device: device that it ran on.
        threads: number of threads of the runtime, also where it was measured; None is the
            runtime's choice.
        batch: rows of the loop, or events per call.
        load_s: time from the path to a loaded graph that samples or encodes, in seconds. It is the
            second load, so that the bundle's hashes are cached.
        samples_per_s: whole events drawn per second, with noise, latents, copies and all positions.
        peak_memory_mb: largest resident memory of the process during loading and sampling, less
            the memory after its imports, in 10^6 bytes, without a GPU's memory. One process runs
            the batches of one number of threads in rising order, so it is never less than at a
            smaller batch of that number.
        max_abs_nats: largest |delta log p| of an event, or |delta log w|, against the reference, in
            nats.
        unexplained: number of drawn values that differ from the reference and are not near ties.
        passed: whether every check of `verify` passed.
    """

    backend: str
    device: str
    threads: int | None
    batch: int
    load_s: float
    samples_per_s: float
    peak_memory_mb: float
    max_abs_nats: float
    unexplained: int
    passed: bool

    def to_json(self) -> dict[str, object]:
        """Return all fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMeasureRow(MeasureRow):
    """Measurements of an autoregressive bundle.

    Attributes:
        steps: number of single steps that were timed, over all rounds.
        step_ms_p50: median time of one step of the whole batch, in milliseconds.
        step_ms_p95: 95th percentile of that time, in milliseconds.
        step_ms_p99: 99th percentile of that time, in milliseconds.
        log_prob_events_per_s: whole events evaluated per second.
    """

    steps: int
    step_ms_p50: float
    step_ms_p95: float
    step_ms_p99: float
    log_prob_events_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentMeasureRow(MeasureRow):
    """Measurements of a bundle with latents.

    Attributes:
        encode_ms_p50: median time of encoding a batch, in milliseconds.
        decode_ms_p50: median time of decoding a batch of latents to means, in milliseconds.
        bounds_per_s: events per second whose log p(x) is bounded with speeds.K latents each, with
            noise, encoder, log-weights and reduction.
    """

    encode_ms_p50: float
    decode_ms_p50: float
    bounds_per_s: float


def measure_engine(
    path: str | Path,
    backend: str,
    batches: Sequence[int],
    *,
    device: str = "cpu",
    threads: ThreadCount = None,
    rounds: int = 3,
) -> Sequence[MeasureRow]:
    """Measure a bundle on a backend, at each batch size.

    Args:
        path: directory of the bundle; an autoregressive one needs the graphs log_prob, logits,
            redraw and step.
        backend: name of the backend.
        batches: batch sizes: rows of a loop, or events per call.
        device: "cpu", "cuda" or "cuda:N".
        threads: number of threads of the runtime; None lets the runtime choose. With "measure" the
            fastest number for each batch is found first, or remembered, and the rows are of it.
        rounds: number of passes over the positions, or of calls, after a warm-up.

    Returns:
        A row for each batch size, in rising order: a `StepMeasureRow`, or a `LatentMeasureRow` for
        a bundle with latents.

    Raises:
        BundleError: the bundle is missing, damaged or inconsistent, or lacks a graph.
        BackendUnavailable: the backend cannot run here.
        InvalidInput: an argument is invalid.
        MeasurementFailed: the measuring process ended without a result.

    For example:

        [row] = measure_engine("demo/digits", "onnxruntime", batches=[64], threads=1)
        row.step_ms_p50, row.passed
    """
    if backend not in BACKENDS:
        raise InvalidInput(f"backend: expected one of {list(BACKENDS)}, got {backend!r}")
    if not batches:
        raise InvalidInput("batches: at least one batch size is required")
    rows = tuple(sorted({whole("batch", batch, 1) for batch in batches}))
    rounds = whole("rounds", rounds, 1)
    kind = StepMeasureRow if Bundle.open(path).manifest.latent is None else LatentMeasureRow
    request = {"path": str(path), "backend": backend, "device": device, "threads": threads}
    # This process only loads the bundle, or finds the number of threads for each batch.
    first = _answer(request | {"batches": rows if is_measured(threads) else (), "rounds": rounds})
    of_batch = {row["batch"]: row["threads"] for row in first} or dict.fromkeys(rows, threads)
    found: list[dict[str, Any]] = []
    for count in dict.fromkeys(of_batch.values()):
        alike = [batch for batch in rows if of_batch[batch] == count]
        found += _answer(request | {"threads": count, "batches": alike, "rounds": rounds})
    return [kind(**row) for row in sorted(found, key=lambda row: row["batch"])]


def _answer(request: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a measuring process; an error of ours in it is raised here again."""
    what = f"measuring {request['path']} on backend {request['backend']!r}"
    answer = in_process(what, "ancestral.engine.measure", json.dumps(request))
    if "error" in answer:
        kind = getattr(errors, str(answer["error"]), MeasurementFailed)
        raise kind(answer["message"])
    return list(answer["rows"])


def main() -> None:
    """Run the measuring process: request in JSON, rows or an error in JSON on the last line."""
    answer: dict[str, object]
    try:
        answer = {"rows": _measure(**json.loads(sys.argv[1]))}
    except AncestralError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def _measure(
    path: str, backend: str, batches: list[int], rounds: int, device: str, threads: ThreadCount
) -> list[dict[str, Any]]:
    """Return the fields of each row; without batches the bundle is only loaded.

    If the threads are to be measured, a row has only the batch and the number of threads.
    """
    # If the runtime is missing, `load` below raises an error that names it.
    with contextlib.suppress(ModuleNotFoundError):
        importlib.import_module(f"ancestral.engine.backends.{backend}")
    before = memory_now()
    latent = Bundle.open(path).manifest.latent is not None
    kind = LatentEngine if latent else AutoregressiveEngine
    begin = time.perf_counter()
    engine: AutoregressiveEngine | LatentEngine = kind.load(
        path, backend=backend, device=device, threads=threads
    )
    engine.session("encode" if latent else "step")
    load_s = time.perf_counter() - begin
    if is_measured(threads):
        return [{"batch": batch, "threads": engine.threads(batch)} for batch in batches]
    found: list[dict[str, Any]] = []
    for batch in batches:
        if isinstance(engine, LatentEngine):
            speeds = latent_speeds(engine, batch, rounds)
        else:
            speeds = step_speeds(engine, batch, rounds)
        speeds["peak_memory_mb"] = max(0, memory_peak() - before) / 1e6
        found.append({"batch": batch} | speeds)
    if not found:
        return []
    if isinstance(engine, AutoregressiveEngine):
        for row in found:
            row["log_prob_events_per_s"] = log_prob_rate(engine, row["batch"], rounds)
    parity = engine.verify()
    shared = {
        "backend": backend,
        "device": engine.backend.device,
        "threads": threads,
        "load_s": load_s,
        "max_abs_nats": parity.max_abs_nats,
        "unexplained": parity.unexplained,
        "passed": parity.passed,
    }
    return [shared | row for row in found]


if __name__ == "__main__":
    main()
