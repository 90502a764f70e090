"""A job in one process, in alternating rounds with the same rows by one call of the engine."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ancestral.bulk.merge import merge
from ancestral.bulk.orders import Order
from ancestral.bulk.settings import LogProbSettings, SampleSettings
from ancestral.bulk.table import values_of
from ancestral.engine import AutoregressiveEngine, Samples
from ancestral.engine.sample import join
from ancestral.engine.timing import interleaved
from benchmarks.bulk.cases import DIGITS
from benchmarks.bulk.jobs import Opened
from benchmarks.parity import Parity
from benchmarks.recorder import Recorder
from benchmarks.rows import Bound, CaseRow, Rounds

LEAST_SAMPLE = round(1 / 1.05, 3)
"""Target for samples: an overhead of at most 5 %."""
LEAST_SCORE = 0.95
BATCH, PART_SIZE = 256, 4096


def samples(bundle: Path, recorder: Recorder, n: int, verified: Parity) -> tuple[CaseRow, Samples]:
    """Measure n samples in batches of `BATCH`; return the row and the samples.

    Raises:
        ParityError: the job's rows are not those of the engine, in bits.
    """
    threads = recorder.threads
    order = Order(SampleSettings(), bundle, n, threads=threads, batch=BATCH, part_size=PART_SIZE)
    with TemporaryDirectory() as folder:
        job = Opened.of(order, folder)
        engine = _autoregressive(job)
        labels = _labels(engine, n)
        kept: list[Samples] = []

        def draw() -> None:
            kept[:] = [join(list(engine.sample_batches(n, labels, 0, batch=BATCH)))]

        rounds = _rounds(job, draw, recorder)
        table = _merged(job, Path(folder))
    found = kept[0]
    different = (values_of(table, "x") != found.x).reshape(n, -1).any(axis=1)
    different |= values_of(table, "log_prob") != found.log_prob
    parity = replace(verified, unexplained=int(different.sum()), sample_nats=0.0)
    bound = Bound("Engine.sample / bulk", ">=", LEAST_SAMPLE)
    return _row(recorder, f"{n:,} samples", BATCH, rounds, parity, bound), found


def scores(bundle: Path, recorder: Recorder, drawn: Samples, verified: Parity) -> CaseRow:
    """Measure the log-probabilities of samples, in batches whose size the job measures.

    Raises:
        ParityError: a log-probability differs from that of `Engine.log_prob` by more than the
            limit.
    """
    n = len(drawn)
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data.npz"
        arrays = {"x": drawn.x} | ({} if drawn.labels is None else {"y": drawn.labels})
        np.savez(data, **arrays)
        order = Order(
            LogProbSettings(),
            bundle,
            data=(str(data),),
            threads=recorder.threads,
            part_size=PART_SIZE,
        )
        job = Opened.of(order, str(Path(folder) / "job"))
        engine = _autoregressive(job)
        kept: list[NDArray[np.float64]] = []

        def score() -> None:
            kept[:] = [engine.log_prob(drawn.x, drawn.labels)]

        rounds = _rounds(job, score, recorder)
        table = _merged(job, Path(folder))
    apart = float(np.abs(values_of(table, "log_prob") - kept[0]).max())
    bound = Bound("Engine.log_prob / bulk", ">=", LEAST_SCORE)
    parity = replace(verified, sample_nats=apart)
    return _row(recorder, f"{n:,} log-probs", job.worker.job.rows, rounds, parity, bound)


def _rounds(job: Opened, baseline: Callable[[], None], recorder: Recorder) -> tuple[Rounds, Rounds]:
    """Return the seconds of the job and of the baseline in each round, after one warm-up."""
    ours, other = interleaved([job.redo, baseline], recorder.rounds, warm_ups=1)
    return ours, other


def _row(
    recorder: Recorder,
    name: str,
    batch: int,
    rounds: tuple[Rounds, Rounds],
    parity: Parity,
    bound: Bound,
) -> CaseRow:
    baseline = bound.number.partition(" / ")[0], rounds[1]
    return recorder.add(DIGITS, (name, "s"), batch, rounds[0], parity, baseline, bound)


def _merged(job: Opened, folder: Path) -> Any:
    """Return all rows of a job."""
    merge(job.worker.job, job.worker.store, folder / "all.parquet")
    return pq.read_table(folder / "all.parquet")


def _autoregressive(job: Opened) -> AutoregressiveEngine:
    assert isinstance(job.engine, AutoregressiveEngine)
    return job.engine


def _labels(engine: AutoregressiveEngine, n: int) -> NDArray[np.int64] | None:
    """Return the labels that a job cycles through."""
    classes = engine.data.num_classes
    return None if classes is None else np.arange(n) % classes
