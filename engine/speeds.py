"""Time a loaded engine: single steps, whole samples, log-probabilities, latents, bounds."""

import math
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ancestral import step_tensors as names
from ancestral.engine import step_graph, step_loop
from ancestral.engine.noise import Noise
from ancestral.engine.open import AutoregressiveEngine, LatentEngine
from ancestral.engine.session import Binding
from ancestral.engine.timing import interleaved, seconds
from ancestral.sampling import UNFILTERED

ROUND_SECONDS = 10.0
"""Longest time of one round's steps; if all positions would take longer, only some are timed."""
LEAST_STEPS = 64
"""Number of positions that are timed however long they take."""
K = 64
"""Number of latents of each event in a timed bound."""
_WARM_UP, _LATENT_WARM_UP = 3, 2


def step_speeds(engine: AutoregressiveEngine, batch: int, rounds: int) -> dict[str, Any]:
    """Return the percentiles of a step's time, and samples per second, as fields of a row."""
    milliseconds, batch_s = time_steps(engine, batch, rounds)
    p50, p95, p99 = np.percentile(milliseconds, (50, 95, 99)).tolist()
    return {
        "steps": len(milliseconds),
        "step_ms_p50": p50,
        "step_ms_p95": p95,
        "step_ms_p99": p99,
        "samples_per_s": batch / batch_s,
    }


def time_steps(
    engine: AutoregressiveEngine, batch: int, rounds: int
) -> tuple[NDArray[np.float64], float]:
    """Return the milliseconds of single steps over `rounds` batches, and the seconds of a batch.

    If all positions take longer than ROUND_SECONDS, evenly spaced ones are timed, and the position
    is set by hand: the time of a step depends on its position, not on the content of the cache.
    """
    first, t = engine.first_position, engine.data.length
    binding = engine.session("step").bind({"b": batch, "s": 1})
    step = partial(_step, binding, engine.backend.device != "cpu")
    _start(engine, binding, batch)
    for _ in range(_WARM_UP):
        step()
    binding.write(names.POSITION, np.full(batch, t - 1, np.int64))
    slowest = max(min(seconds(step) for _ in range(_WARM_UP)), 1e-9)
    most = max(LEAST_STEPS, math.floor(ROUND_SECONDS / slowest))
    positions = np.unique(np.linspace(first, t - 1, min(most, t - first)).astype(np.int64))
    single, around = [], []
    for _ in range(rounds):
        written = seconds(partial(_start, engine, binding, batch))
        reached = first
        for position in positions:
            if position != reached:
                binding.write(names.POSITION, np.full(batch, position, np.int64))
            single.append(seconds(step))
            reached = position + 1
        read = [seconds(partial(binding.read, name)) for name in (names.VALUES, names.LOG_P)]
        around.append(written + sum(read))
    times = np.array(single)
    return times * 1e3, float(np.median(around) + times.mean() * (t - first))


def _start(engine: AutoregressiveEngine, binding: Binding, batch: int) -> None:
    """Write the inputs of a loop in which every value is drawn that can be."""
    first, t = engine.first_position, engine.data.length
    observed = np.full((batch, t), -1, np.int64)
    observed[:, :first] = 0
    given: dict[str, NDArray[Any]] = {names.U: Noise(0, 0).uniforms(batch, t)}
    signature = engine.session("step").signature
    given |= step_graph.settings(signature, UNFILTERED, batch, engine.data.levels)
    labels = _labels(engine.data.num_classes, batch)
    if labels is not None:
        given[names.LABEL] = labels
    step_loop.begin(binding, step_loop.Start(observed, given, first, prefill=False))


def _labels(classes: int | None, batch: int) -> NDArray[np.int64] | None:
    return None if classes is None else np.arange(batch, dtype=np.int64) % classes


def _step(binding: Binding, on_device: bool) -> None:
    """Run one step; a GPU may return before it is done, so a tensor is read to wait for it."""
    binding.run(1)
    if on_device:
        binding.read(names.POSITION)


def log_prob_rate(engine: AutoregressiveEngine, batch: int, rounds: int) -> float:
    """Return the events evaluated per second, by the median call; a slow call is not repeated."""
    u = Noise(1, 0).uniforms(batch, engine.data.length)
    x = (u * engine.data.levels).astype(np.int64)
    evaluate = partial(engine.log_prob, x, labels=_labels(engine.data.num_classes, batch))
    taken: list[float] = []
    # The first call allocates; it counts only if there is no time for another.
    while len(taken) <= rounds and sum(taken) < ROUND_SECONDS:
        taken.append(seconds(evaluate))
    return batch / float(np.median(taken[1:] or taken))


def latent_speeds(engine: LatentEngine, batch: int, rounds: int) -> dict[str, Any]:
    """Time encoding, decoding, sampling and bounding a batch, by the median call of each."""
    classes = None if engine.prior is None else engine.prior.data.num_classes
    label = _labels(classes, batch)
    drawn = engine.sample(batch, labels=label)
    actions = (
        lambda: engine.encode(drawn.x),
        lambda: engine.decode(drawn.z),
        lambda: engine.sample(batch, labels=label),
        lambda: engine.bound(drawn.x, k=K),
    )
    times = [interleaved([action], rounds, _LATENT_WARM_UP)[0] for action in actions]
    encode, decode, sample, bound = (float(np.median(each)) for each in times)
    return {
        "encode_ms_p50": encode * 1e3,
        "decode_ms_p50": decode * 1e3,
        "samples_per_s": batch / sample,
        "bounds_per_s": batch / bound,
    }
