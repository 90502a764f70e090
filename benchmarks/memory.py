"""Load time and peak memory of sampling, in a process that does nothing else.

    python -m benchmarks.memory BUNDLE ROWS PREFIX THREADS        prints one JSON line

The first load hashes the bundle and may leave something for the next; so a row is made of later
loads, with a cache folder that only these processes have.
"""

import hashlib
import importlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ancestral.bundles.bundle import Bundle
from ancestral.engine import Engine
from ancestral.engine.measure import memory_now, memory_peak
from ancestral.engine.noise import Noise

_NOT_CACHE = {"position", "values", "log_p", "log_q"}


@dataclass(frozen=True, slots=True)
class Load:
    """One process.

    Attributes:
        load_s: from the path to a loaded graph that samples, in seconds, hashing included.
        hashing_s: of it, computing SHA-256.
        loaded_mb: resident memory then, less that after imports, in 10^6 bytes.
        peak_mb: largest until all was drawn, less that after imports.
        sample_nats: largest |log p along the steps - log p by the parallel graph|, read afterwards.
    """

    load_s: float
    hashing_s: float
    loaded_mb: float
    peak_mb: float
    sample_nats: float


def loads(path: Path, rows: int, prefix: int, threads: int, rounds: int) -> tuple[Load, list[Load]]:
    """The first load, and `rounds` later ones, each in a process of its own.

    Raises:
        RuntimeError: a process broke down; the message holds what it said.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder}
        words = [str(path), str(rows), str(prefix), str(threads)]
        found = []
        for _ in range(1 + rounds):
            done = subprocess.run(
                [sys.executable, "-m", "benchmarks.memory", *words],
                cwd=Path(__file__).resolve().parent.parent,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise RuntimeError(f"benchmarks.memory {' '.join(words)}: {done.stderr[-2000:]}")
            found.append(Load(**json.loads(done.stdout.strip().rpartition("\n")[2])))
    return found[0], found[1:]


def needed_mb(bundle: Bundle, rows: int) -> float:
    """Weights and caches, in 10^6 bytes: what no loop can do without."""
    signature = bundle.manifest.graphs["step"].signature
    caches = sum(
        int(np.prod(spec.shape({"b": rows, "s": 1}))) * np.dtype(spec.dtype).itemsize
        for spec in (signature.input(pair.input) for pair in signature.carried)
        if spec.name not in _NOT_CACHE
    )
    return (bundle.weights_file.stat().st_size + caches) / 1e6


def measure(path: Path, rows: int, prefix: int, threads: int) -> Load:
    """Load and sample in this process; nothing that needs memory may have run in it before."""
    importlib.import_module("ancestral.engine.backends.onnxruntime")
    hashing = _Clocked(hashlib.file_digest)
    hashlib.file_digest = hashing  # type: ignore[assignment]
    before = memory_now()
    begin = time.perf_counter()
    engine = Engine.load(path, backend="onnxruntime", threads=threads)
    engine.session("step")
    load_s = time.perf_counter() - begin
    loaded = memory_now() - before
    observed = np.full((rows, engine.data.length), -1, np.int64)
    u = Noise(1, 0).uniforms(rows, prefix)
    observed[:, :prefix] = (u * engine.data.levels).astype(np.int64)
    samples = engine.sample(rows, observed=observed)
    peak = memory_peak() - before
    exact = engine.log_prob(samples.x)
    nats = float(np.abs(samples.log_prob - exact).max())
    return Load(load_s, hashing.seconds, loaded / 1e6, peak / 1e6, nats)


class _Clocked:
    """A function, and the seconds that were spent in it."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.seconds = function, 0.0

    def __call__(self, *values: Any) -> Any:
        begin = time.perf_counter()
        try:
            return self.function(*values)
        finally:
            self.seconds += time.perf_counter() - begin


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Path(sys.argv[1]), *map(int, sys.argv[2:5])))))
