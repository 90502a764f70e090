"""Time samples in blocks of proposals, compared with the same samples step by step."""

import time
from dataclasses import asdict, dataclass

import numpy as np

from ancestral.engine.open import AutoregressiveEngine
from ancestral.engine.sample import Samples
from ancestral.engine.speculation import Speculate, joined
from ancestral.sampling import UNFILTERED, Sampling
from ancestral.scalars import whole


@dataclass(frozen=True, slots=True, kw_only=True)
class SpeculationRow:
    """Single samples of a bundle, drawn with proposals and without in the same rounds.

    Attributes:
        backend: name of the backend.
        device: device that it ran on.
        threads: number of threads of the runtime; None is the runtime's choice.
        proposer: name of the proposer; None if the samples were drawn step by step.
        remark: why they were, or what was wrong with the proposer.
        samples: number of samples.
        positions: number of positions that were drawn.
        calls: number of calls of the step graph.
        acceptance: share of the proposals that were right, by size of the block.
        step_ms: median time of a sample step by step, in milliseconds.
        speculated_ms: median time of a sample with proposals, in milliseconds.
        speedup: median over the samples of the ratio of both times of one sample.
        same: number of samples with the same values; others may have a near tie.
        max_abs_nats: largest difference of log p between the two, over those samples, in nats.
    """

    backend: str
    device: str
    threads: int | None
    proposer: str | None
    remark: str | None
    samples: int
    positions: int
    calls: int
    acceptance: dict[int, float]
    step_ms: float
    speculated_ms: float
    speedup: float
    same: int
    max_abs_nats: float

    def to_json(self) -> dict[str, object]:
        """Return all fields."""
        return asdict(self)


def speculation_speed(
    engine: AutoregressiveEngine,
    speculate: Speculate,
    samples: int = 20,
    sampling: Sampling = UNFILTERED,
) -> SpeculationRow:
    """Draw single samples with proposals and without, in turns.

    Args:
        engine: a bundle on a backend.
        speculate: what proposes values, as in `sample`.
        samples: number of samples; sample i has index i of seed 0, and label i mod C.
        sampling: temperature, filters and bias.

    Raises:
        InvalidInput: the proposer does not fit the model, or `samples` is not a positive integer.

    For example:

        row = speculation_speed(engine, "auto")
        row.positions / row.calls, row.speedup
    """
    count = whole("samples", samples, 1)
    classes = engine.data.num_classes
    free = np.full(engine.data.event_shape, -1)
    # A model without a start symbol needs its first value.
    if engine.first_position:
        free.reshape(-1)[engine.data.order[0]] = 0

    def draw(index: int, given: Speculate) -> Samples:
        return engine.sample(
            1,
            None if classes is None else index % classes,
            first_index=index,
            sampling=sampling,
            observed=free if engine.first_position else None,
            speculate=given,
        )

    draw(0, speculate)
    times, pairs = [], []
    for index in range(count):
        begin = time.perf_counter()
        before = draw(index, None)
        middle = time.perf_counter()
        after = draw(index, speculate)
        times.append((middle - begin, time.perf_counter() - middle))
        pairs.append((before, after))
    reports = [after.speculated for _, after in pairs if after.speculated is not None]
    same = [bool((before.x == after.x).all()) for before, after in pairs]
    apart = [
        abs(float(before.log_prob[0] - after.log_prob[0]))
        for (before, after), alike in zip(pairs, same, strict=True)
        if alike
    ]
    whole_report = joined(reports)
    milliseconds = 1e3 * np.array(times)
    return SpeculationRow(
        backend=engine.backend.name,
        device=engine.backend.device,
        threads=engine.backend.threads(1),
        proposer=whole_report.proposer,
        remark=whole_report.remark,
        samples=count,
        positions=whole_report.positions,
        calls=whole_report.calls,
        acceptance=whole_report.acceptance,
        step_ms=float(np.median(milliseconds[:, 0])),
        speculated_ms=float(np.median(milliseconds[:, 1])),
        speedup=float(np.median(milliseconds[:, 0] / milliseconds[:, 1])),
        same=sum(same),
        max_abs_nats=max(apart, default=0.0),
    )
