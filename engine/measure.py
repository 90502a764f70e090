"""Time and memory of a bundle on a backend, beside the parity of the same run.

Every backend is measured in a process of its own, so that its memory is its own, and after another
process has loaded the bundle once: what a runtime keeps for the next load is there.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureRow:
    """One backend at one batch size: what all bundles have.

    Attributes:
        backend: its name.
        device: where it ran.
        threads: of the runtime; None is its own choice.
        batch: rows of the loop, or events a call.
        load_s: from the path to a graph that samples or encodes, in seconds; the second load, so
            that the bundle's hashes are remembered.
        samples_per_s: whole events drawn a second: noise, latents, copies and all positions.
        peak_memory_mb: largest resident memory of the process through loading and sampling, less
            what it held after its imports, in 10^6 bytes; a GPU's own memory is not in it. Batches
            grow within one process, so that it is never less than at a smaller batch.
        max_abs_nats: largest |delta log p| of an event, or |delta log w|, against the reference.
        unexplained: drawn values that differ from the reference and are no near ties.
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
        """All fields."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMeasureRow(MeasureRow):
    """An autoregressive bundle.

    Attributes:
        steps: how many single steps were timed, over all rounds.
        step_ms_p50: median time of one position of the whole batch, in milliseconds.
        step_ms_p95: 95th percentile.
        step_ms_p99: 99th percentile.
        log_prob_events_per_s: whole events evaluated a second.
    """

    steps: int
    step_ms_p50: float
    step_ms_p95: float
    step_ms_p99: float
    log_prob_events_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentMeasureRow(MeasureRow):
    """A bundle with latents.

    Attributes:
        encode_ms_p50: median time of encoding a batch, in milliseconds.
        decode_ms_p50: of decoding a batch of latents to means.
        bounds_per_s: events a second whose log p(x) is bounded with speeds.K latents of each:
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
    threads: int | None = None,
    rounds: int = 3,
) -> Sequence[MeasureRow]:
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
    kind = StepMeasureRow if Bundle.open(path).manifest.latent is None else LatentMeasureRow
    request = {"path": str(path), "backend": backend, "device": device, "threads": threads}
    _answer(request | {"batches": (), "rounds": rounds})
    found = _answer(request | {"batches": rows, "rounds": rounds})
    return [kind(**row) for row in found]


def _answer(request: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a process of its own; an error of ours is raised here again."""
    what = f"measuring {request['path']} on backend {request['backend']!r}"
    answer = in_process(what, "ancestral.engine.measure", json.dumps(request))
    if "error" in answer:
        kind = getattr(errors, str(answer["error"]), MeasurementFailed)
        raise kind(answer["message"])
    return list(answer["rows"])


def main() -> None:
    """The measuring process: a request as JSON in, rows or an error as JSON on the last line."""
    answer: dict[str, object]
    try:
        answer = {"rows": _measure(**json.loads(sys.argv[1]))}
    except AncestralError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


def _measure(
    path: str, backend: str, batches: list[int], rounds: int, device: str, threads: int | None
) -> list[dict[str, Any]]:
    """The fields of each row; without batches the bundle is only loaded."""
    # A runtime that is missing is named by the engine's load.
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
