"""Proposals by a smaller model of the same data, which draws with the same uniforms."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import step_graph, step_loop
from ancestral.engine.runner import Runner
from ancestral.engine.same_data import check_same_data
from ancestral.engine.session import Binding
from ancestral.engine.speculation.proposer import Proposals, Row
from ancestral.errors import InvalidInput

_STEPS = 16
"""Steps by which the time of a step is measured."""


class Draft:
    """Proposes what another bundle draws with the noise of the row.

    Where both models draw by inverse CDF from the same uniform, they agree more often than two
    independent draws; for levels in an order, such as grey, much more often.
    """

    name = "draft"

    def __init__(self, engine: Runner) -> None:
        """Take a model.

        Args:
            engine: engine of the smaller bundle, as `Engine.load` returns it.

        Raises:
            InvalidInput: it is not an autoregressive model, or its state cannot go back.
        """
        graphs = engine.bundle.manifest.graphs if isinstance(engine, Runner) else {}
        if "step" not in graphs:
            raise InvalidInput("draft: expected the engine of an autoregressive bundle")
        if not step_graph.rewinds(graphs["step"].signature, engine.data.length):
            raise InvalidInput(
                "draft: expected a model whose cache keeps every position; the state of a "
                "recurrent model or of a ring cannot go back after a wrong proposal"
            )
        self._runner = engine

    def check(self, runner: Runner) -> None:
        check_same_data("draft", self._runner, runner, "the model's")
        optional = [each.bundle.manifest.label_optional for each in (runner, self._runner)]
        if optional == [True, False]:
            raise InvalidInput("draft: expected a model of p(x) as well as p(x | y), as the other")
        if self._runner.first_position > runner.first_position:
            raise InvalidInput("draft: expected a model with a start symbol, as the other one has")

    def seconds(self) -> float:
        return self._runner.once("seconds of a draft", self._measured)

    @contextmanager
    def begin(self, row: Row) -> Iterator[Proposals]:
        graph = step_graph.graph_of(row.sampling, self._runner.bundle.manifest.graphs)
        with self._runner.binding(graph, 1) as binding:
            yield _Loop(self._runner, graph, binding, row)

    def _measured(self) -> float:
        runner = self._runner
        with runner.binding("step", 1) as binding:
            free = np.full((1, runner.data.length), -1, np.int64)
            step_loop.place(binding, np.full(1, min(runner.data.length // 2, 256), np.int64))
            times = []
            for _ in range(5):
                begin = time.perf_counter()
                binding.run(_STEPS)
                times.append(time.perf_counter() - begin)
            step_loop.rewind(binding, np.zeros(1, np.int64), free)
        return min(times) / _STEPS


class _Loop:
    """The loop of the smaller model over one row."""

    def __init__(self, runner: Runner, graph: str, binding: Binding, row: Row) -> None:
        """Write the inputs of the row."""
        signature = runner.session(graph).signature
        given = step_graph.settings(signature, row.sampling, 1, runner.data.levels)
        given |= step_graph.labelled(row.label)
        first, observed = runner.first_position, row.observed[None].copy()
        step_loop.begin(
            binding, step_loop.Start(observed, given, first, False, row.noise, redraws=True)
        )
        self._binding = binding
        self._next = first
        # The values before `_next` that the cache has consumed: all but the last one.
        self._consumed = np.empty(0, np.int64)

    def propose(self, values: NDArray[np.int64], position: int, most: int) -> NDArray[np.int64]:
        most = min(most, len(values) - position)
        if most <= 0:
            return np.empty(0, np.int64)
        before = values[:position]
        at = min(self._next, 1 + _agreeing(self._consumed, before), position)
        drawn = step_loop.follow(self._binding, before, at, most)
        self._next = position + most
        self._consumed = np.concatenate([before, drawn[:-1]])
        return drawn


def _agreeing(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Return how many leading values two sequences share."""
    count = min(len(first), len(second))
    differs = np.flatnonzero(first[:count] != second[:count])
    return int(differs[0]) if len(differs) else count
