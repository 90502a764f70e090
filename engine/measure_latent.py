"""Time and memory of a latent variable model on a backend, beside the parity of the same run."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ancestral.engine.open import LatentEngine

K = 64
"""Latents of each event, where a bound is timed."""
_WARM_UP = 2


@dataclass(frozen=True, slots=True)
class LatentMeasureRow:
    """One backend at one batch size.

    Attributes:
        backend: its name.
        device: where it ran.
        threads: of the runtime; None is its own choice.
        batch: events a call.
        load_s: from the path to a graph that encodes, in seconds; the second load.
        encode_ms_p50: median time of encoding a batch, in milliseconds.
        decode_ms_p50: of decoding a batch of latents to means.
        samples_per_s: whole events drawn a second: noise, latents and values.
        bounds_per_s: events a second whose log p(x) is bounded with K latents of each: noise,
            encoder, log-weights and reduction.
        peak_memory_mb: largest resident memory of the process, less what it held after its imports,
            in 10^6 bytes; a GPU's own memory is not in it. Batches grow within one process.
        max_abs_nats: largest |delta log w| against the reference, in nats.
        unexplained: drawn values that differ from the reference and are no near ties.
        passed: whether every check of `verify` passed.
    """

    backend: str
    device: str
    threads: int | None
    batch: int
    load_s: float
    encode_ms_p50: float
    decode_ms_p50: float
    samples_per_s: float
    bounds_per_s: float
    peak_memory_mb: float
    max_abs_nats: float
    unexplained: int
    passed: bool

    def to_json(self) -> dict[str, object]:
        """All fields."""
        return asdict(self)


def measure_latent(
    path: str | Path,
    backend: str,
    batches: tuple[int, ...],
    device: str,
    threads: int | None,
    rounds: int,
    peak: Callable[[], int],
) -> list[LatentMeasureRow]:
    """Rows of each batch size, in this process.

    Args:
        path: the bundle's directory.
        backend: its name.
        batches: numbers of events; without any the bundle is loaded alone.
        device: cpu, cuda or cuda:N.
        threads: of the runtime; its own choice where None.
        rounds: calls that are timed, after a warm-up.
        peak: bytes of memory that the process has taken since it began to load.

    Raises:
        BundleError: the bundle is not sound, or lacks a graph.
        BackendUnavailable: the backend cannot run here.
    """
    begin = time.perf_counter()
    engine = LatentEngine.load(path, backend=backend, device=device, threads=threads)
    engine.session("encode")
    load_s = time.perf_counter() - begin
    if not batches:
        return []
    timed = [(_times(engine, batch, rounds), peak()) for batch in batches]
    parity = engine.verify()
    return [
        LatentMeasureRow(
            backend=backend,
            device=engine.backend.device,
            threads=threads,
            batch=batch,
            load_s=load_s,
            encode_ms_p50=seconds[0] * 1e3,
            decode_ms_p50=seconds[1] * 1e3,
            samples_per_s=batch / seconds[2],
            bounds_per_s=batch / seconds[3],
            peak_memory_mb=memory / 1e6,
            max_abs_nats=parity.max_abs_nats,
            unexplained=parity.unexplained,
            passed=parity.passed,
        )
        for batch, (seconds, memory) in zip(batches, timed, strict=True)
    ]


def _times(engine: LatentEngine, batch: int, rounds: int) -> list[float]:
    """Median seconds of encoding, decoding, sampling and bounding a batch."""
    classes = None if engine.prior is None else engine.prior.data.num_classes
    label = None if classes is None else np.arange(batch) % classes
    drawn = engine.sample(batch, labels=label)
    actions: tuple[Callable[[], object], ...] = (
        lambda: engine.encode(drawn.x),
        lambda: engine.decode(drawn.z),
        lambda: engine.sample(batch, labels=label),
        lambda: engine.bound(drawn.x, k=K),
    )
    medians = []
    for action in actions:
        seconds = []
        for _ in range(_WARM_UP + rounds):
            begin = time.perf_counter()
            action()
            seconds.append(time.perf_counter() - begin)
        medians.append(float(np.median(seconds[_WARM_UP:])))
    return medians
