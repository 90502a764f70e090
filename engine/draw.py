"""Events to draw, with checked arguments, and the inputs of their loop."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import step_graph, step_loop
from ancestral.engine.noise import Noise
from ancestral.engine.runner import Runner
from ancestral.engine.speculation import Plan, Row, SpeculatedRow
from ancestral.sampling import Sampling


@dataclass(frozen=True, slots=True)
class Draw:
    """n events to draw, with checked arguments.

    Attributes:
        observed: values by positions, [n, t] (perhaps a view of one event), -1 where free.
        label: label of each event, [n], as the graphs take it; None without classes.
        noise: noise that begins at the first sample.
        sampling: temperature, filters, bias and penalties.
        logprobs: number of most probable values to keep at each position.
        plan: how values are proposed; None draws step by step.
    """

    observed: NDArray[np.int64]
    label: NDArray[np.int64] | None
    noise: Noise
    sampling: Sampling
    logprobs: int = 0
    plan: Plan | None = None

    def graph(self, runner: Runner) -> str:
        """Return the name of the step graph that draws them."""
        graphs = runner.bundle.manifest.graphs
        return step_graph.graph_of(self.sampling, graphs, self.logprobs)

    def start(self, runner: Runner) -> step_loop.Start:
        """Return the inputs of a loop over all of these rows."""
        signature = runner.session(self.graph(runner)).signature
        given = step_graph.settings(
            signature, self.sampling, len(self.observed), runner.data.levels
        )
        given |= step_graph.labelled(self.label)
        prefill = step_graph.takes_blocks(signature)
        redraws = self.plan is not None and self.plan.proposer is not None
        return step_loop.Start(
            self.observed, given, runner.first_position, prefill, self.noise, redraws=redraws
        )

    @contextmanager
    def speculated(self, runner: Runner) -> Iterator[SpeculatedRow | None]:
        """Return the loop that draws a single row with proposals; None without a proposer."""
        if self.plan is None or self.plan.proposer is None:
            yield None
            return
        row = Row(runner.data, self.observed[0], self.noise, self.label, self.sampling)
        with self.plan.row(runner, self.graph(runner), row) as loop:
            yield loop

    def part(self, start: int, rows: int) -> "Draw":
        """Return at most `rows` consecutive events."""
        some = slice(start, start + rows)
        label = None if self.label is None else np.array(self.label[some])
        noise = self.noise.after(start)
        observed = np.array(self.observed[some])
        return replace(self, observed=observed, label=label, noise=noise)
