"""Load time and peak memory of sampling, in a process that does nothing else.

    python -m benchmarks.memory BUNDLE ROWS PREFIX THREADS        print one JSON line

The first load hashes the bundle and may fill a cache, so it has a row of its own. All loads use a
cache folder that only these processes share.
"""

import hashlib
import importlib
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ancestral.bundles.bundle import Bundle
from ancestral.engine import Engine
from ancestral.engine.noise import Noise
from ancestral.engine.timing import in_process, memory_now, memory_peak
from ancestral.step_tensors import LOG_P, LOG_Q, POSITION, VALUES
from benchmarks.cases import Case
from benchmarks.machine import environment
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import Bound, CaseRow

MEMORY_RATIO = 1.3
LOAD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Load:
    """The measurements of one process.

    Attributes:
        load_s: seconds from the path to a loaded graph that samples, including hashing.
        hashing_s: seconds of it that computed SHA-256.
        peak_mb: peak memory until all is drawn, minus that after imports, in 10^6 bytes.
        sample_nats: largest |log p along the steps - log p of the parallel graph|, computed last.
    """

    load_s: float
    hashing_s: float
    peak_mb: float
    sample_nats: float

    @property
    def own_s(self) -> float:
        """Seconds of the load without hashing."""
        return self.load_s - self.hashing_s


def measured(
    case: Case, path: Path, recorder: Recorder, batch: int, verified: Parity, loads: int
) -> list[CaseRow]:
    """Measure the first load, later loads, and the peak while sampling, each in its own process.

    Args:
        case: case of the rows.
        path: bundle of the case.
        recorder: recorder of the rows.
        batch: batch size of the loop.
        verified: parity of the bundle.
        loads: number of processes that load the bundle after the first.
    """
    words = [str(path), *map(str, (batch, case.prefix, recorder.threads))]
    with tempfile.TemporaryDirectory() as folder:
        own = environment(XDG_CACHE_HOME=folder)
        load = partial(in_process, " ".join(words), "benchmarks.memory", *words, environment=own)
        first, *later = [Load(**load()) for _ in range(1 + loads)]
    needed, large = needed_mb(Bundle.open(path), batch), case.large_vocabulary
    peaks = tuple(each.peak_mb for each in later)
    peak = float(np.median(peaks))
    nats = max(each.sample_nats for each in (first, *later))
    add = partial(recorder.add, case, batch=batch, parity=replace(verified, sample_nats=nats))
    return [
        add(
            ("first load", "s"),
            rounds=(first.own_s,),
            warm_ups=0,
            peak_memory_mb=first.peak_mb,
            note=f"and {first.hashing_s:.2f} s of hashing; no cache folder before",
        ),
        add(
            ("load", "s"),
            rounds=tuple(each.own_s for each in later),
            bound=Bound("", "<", LOAD_SECONDS, "s without hashing") if large else None,
            peak_memory_mb=peak,
        ),
        add(
            ("peak memory", "MB"),
            rounds=peaks,
            bound=Bound("", "<=", MEMORY_RATIO, "times weights and caches") if large else None,
            ratio=peak / needed,
            peak_memory_mb=peak,
            note=f"weights and caches {needed:.0f} MB",
        ),
    ]


def needed_mb(bundle: Bundle, rows: int) -> float:
    """Return the size of weights and caches, which every loop needs, in 10^6 bytes."""
    signature = bundle.manifest.graphs["step"].signature
    caches = sum(
        int(np.prod(spec.shape({"b": rows, "s": 1}))) * np.dtype(spec.dtype).itemsize
        for spec in (signature.input(pair.input) for pair in signature.carried)
        if spec.name not in {POSITION, VALUES, LOG_P, LOG_Q}
    )
    return (bundle.weights_file.stat().st_size + caches) / 1e6


def measure(path: Path, rows: int, prefix: int, threads: int) -> Load:
    """Load and sample in this process, in which nothing that needs memory may have run before."""
    importlib.import_module("ancestral.engine.backends.onnxruntime")
    digest, hashing = hashlib.file_digest, 0.0

    def clocked(*values: Any) -> Any:
        nonlocal hashing
        begin = time.perf_counter()
        try:
            return digest(*values)
        finally:
            hashing += time.perf_counter() - begin

    hashlib.file_digest = clocked  # type: ignore[assignment]
    before = memory_now()
    begin = time.perf_counter()
    engine = Engine.load(path, backend="onnxruntime", threads=threads)
    engine.session("step")
    load_s = time.perf_counter() - begin
    observed = np.full((rows, engine.data.length), -1, np.int64)
    u = Noise(1, 0).uniforms(rows, prefix)
    observed[:, :prefix] = (u * engine.data.levels).astype(np.int64)
    samples = engine.sample(rows, observed=observed)
    peak = memory_peak() - before
    exact = engine.log_prob(samples.x)
    nats = float(np.abs(samples.log_prob - exact).max())
    return Load(load_s, hashing, peak / 1e6, nats)


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Path(sys.argv[1]), *map(int, sys.argv[2:5])))))
