"""What one row of a loop has drawn since the last launch, checked."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import draw_checks, step_loop
from ancestral.engine.alternatives import Alternatives
from ancestral.engine.request import Ended, Task
from ancestral.engine.session import Binding


@dataclass(frozen=True, slots=True)
class Drawn:
    """What a row has drawn since the last launch.

    Attributes:
        task: the request of the row.
        values: new values, [m].
        log_p: log p(x_t | x_<t) under the model, in nats, [m].
        log_q: log-probability under the distribution drawn from, in nats, [m].
        top: the most probable values at these positions, if the request asked for them.
        ended: why the row ended, or None if it goes on.
        prompt_log_p: log p of the prompt, in nats, [p], with the first values of a row whose
            request asks for it.
    """

    task: Task
    values: NDArray[np.int64]
    log_p: NDArray[np.float32]
    log_q: NDArray[np.float32]
    top: Alternatives | None
    ended: Ended | None
    prompt_log_p: NDArray[np.float32] | None


def read_row(
    binding: Binding, row: int, task: Task, positions: tuple[int, int], found: step_loop.LoopResult
) -> Drawn:
    """Return what a row drew between two positions, up to its first stop value.

    Args:
        binding: binding of the loop.
        row: the row.
        task: its request.
        positions: next position of the row before the launch, and after it.
        found: values and log-probabilities of all rows.

    Raises:
        NotADistribution: a log-probability is NaN.
    """
    begin = max(positions[0], task.begin)
    end = max(begin, min(positions[1], task.end))
    ended = task.ended if positions[1] >= task.end else None
    values = found.values[row, begin:end]
    if task.stop:
        stops = [i for i, value in enumerate(values.tolist()) if value in task.stop]
        if stops:
            values, ended = values[: stops[0] + 1], "stop"
    new = slice(begin, begin + len(values))
    log_p, log_q = found.log_p[row, new].copy(), found.log_q[row, new].copy()
    first = begin == task.begin and (len(values) > 0 or ended is not None)
    prompt = found.log_p[row, :begin].copy() if first and task.prompt_log_p else None
    if any(each is not None and np.isnan(each).any() for each in (log_p, log_q, prompt)):
        past = np.zeros(begin, np.float32) if prompt is None else prompt
        whole, drawn = np.concatenate([past, log_p]), np.pad(log_q, (begin, 0))
        draw_checks.check(whole[None], task.index, drawn[None])
    top = None
    if task.logprobs:
        part = slice(row, row + 1), new
        top = step_loop.read_top(binding, task.logprobs, part).part(0)
    return Drawn(task, values.copy(), log_p, log_q, top, ended, prompt)
