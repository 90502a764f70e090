"""Known events of a bundle, drawn again or forced in blocks of proposals on a backend."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import step_graph, step_loop, verify_steps
from ancestral.engine.comparison import Draws, Events, difference, follow, worst
from ancestral.engine.runner import Runner
from ancestral.engine.session import Array
from ancestral.engine.speculation import Speculated, SpeculatedRow
from ancestral.engine.speculation.block_choice import Fixed
from ancestral.step_tensors import LOG_PROB, STEP_GRAPHS, X

_ROWS = 4
"""Most samples that are drawn again: each is a loop of its own."""
_BLOCK = 8
_WRONG = 5
"""Every so many proposals one is wrong, so that blocks end early at each offset."""


@dataclass(frozen=True, slots=True)
class SpeculatedParity:
    """Events that ran in blocks of proposals.

    Attributes:
        nats: largest |delta log p| of an event or a position, in nats; 0 if the model is stepped.
        draws: values that were drawn, compared with the known ones.
    """

    nats: float
    draws: Draws


def speculated(
    runner: Runner, answers: dict[str, Array], events: Events, limit: float
) -> SpeculatedParity:
    """Draw known samples again in blocks of proposals, some of them wrong.

    Events of noise are observed, so that each block is accepted.

    Args:
        runner: the engine.
        answers: known answers of the bundle.
        events: events of one kind, [n].
        limit: distance of a uniform from an edge up to which a difference is a near tie.
    """
    nats, draws = 0.0, Draws()
    for graph in STEP_GRAPHS:
        if graph not in runner.bundle.manifest.graphs:
            continue
        if not step_graph.rewinds(runner.session(graph).signature, runner.data.length):
            continue
        for row in np.flatnonzero(events)[:_ROWS].tolist():
            x, margin = answers[X][row], answers["margin"][row]
            free = bool(answers["is_sample"][row])
            values, log_p = _run(runner, graph, answers, row, free)
            if free:
                draws += follow(values[None], x[None], margin[None], limit)
            # After a near tie the row is another one, with another log p.
            same = int(np.argmin(np.append(values == x, False)))
            if same:
                delta = difference(log_p[:same], answers[LOG_PROB][row, :same])
                nats = max(nats, worst(delta, delta.sum(keepdims=True)))
    return SpeculatedParity(nats, draws)


def _run(
    runner: Runner, graph: str, answers: dict[str, Array], row: int, free: bool
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return values and log p in nats of an event that is drawn, or forced, in blocks, [t] each."""
    x, observed = answers[X][row], answers[X][[row]].copy()
    if free:
        observed[:, runner.first_position :] = -1
    start = verify_steps.start_of(runner, graph, answers, np.array([row]), observed)
    binding = runner.session(graph).bind({"b": 1, "s": 1})
    position = step_loop.begin(binding, start)
    wrong = _Wrong((x + (np.arange(len(x)) % _WRONG == 0)) % runner.data.levels)
    loop = SpeculatedRow(start.observed[0], runner.data.levels, wrong, Fixed(_BLOCK), Speculated())
    while position < len(x):
        position = loop.advance(binding, position, len(x))
    part = (slice(1), slice(len(x)))
    return step_loop.read_values(binding, part)[0], step_loop.read_log_p(binding)[0, : len(x)]


@dataclass(frozen=True, slots=True)
class _Wrong:
    """Proposes the same values whatever was drawn."""

    values: NDArray[np.int64]

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        return self.values[position : position + most]
