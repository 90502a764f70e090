"""Whole events as a fixed point of the graph `redraw`, for models that cannot run blocks."""

import time
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.noise import Noise
from ancestral.engine.runner import Runner
from ancestral.engine.speculation.report import Speculated
from ancestral.engine.step_loop import LoopResult
from ancestral.step_tensors import LOG_PROB, REDRAWN


@dataclass(frozen=True, slots=True)
class WholeEvents:
    """Draws all positions of an event at the same time, until none changes.

    Each pass over an event redraws every position given the values of the pass before, so that at
    least one more position is right after it. It pays where a parallel pass costs less than the
    single steps that it saves: for few rows of small PixelCNNs and WaveNets, and on GPUs.

    References:
        Song et al. (2020), arXiv:2002.03629, section 3; Wiggers & Hoogeboom (2020),
        arXiv:2002.09928.
    """

    name = "whole events"


def fixed_point(
    runner: Runner, observed: NDArray[np.int64], label: NDArray[np.int64] | None, noise: Noise
) -> tuple[LoopResult, Speculated]:
    """Draw events from the model's own distribution.

    Args:
        runner: the engine; its bundle has the graph `redraw`.
        observed: values to keep by positions, [n, t]; -1 where free.
        label: label of each event, [n]; None without classes.
        noise: noise that begins at the first event.

    Returns:
        The events, and the number of parallel passes, with the one that computes log p.
    """
    begin = time.perf_counter()
    n, t = observed.shape
    u, x = noise.uniforms(n, t), np.maximum(observed, 0)
    moving = np.arange(n)
    passes = 0
    # After t passes every position has been redrawn from a right past.
    while len(moving) and passes < t:
        passes += 1
        labels = None if label is None else label[moving]
        found = runner.parallel("redraw", labels, x=x[moving], u=u[moving])[REDRAWN]
        drawn = np.where(observed[moving] >= 0, observed[moving], found)
        changed = (drawn != x[moving]).any(axis=1)
        x[moving] = drawn
        moving = moving[changed]
    log_p = runner.parallel(LOG_PROB, label, x=x)[LOG_PROB]
    log_q = np.where(observed >= 0, np.float32(0), log_p)
    report = Speculated(WholeEvents.name, positions=n * (t - runner.first_position))
    report.calls, report.seconds = passes + 1, time.perf_counter() - begin
    return LoopResult(x, log_p, log_q), report
