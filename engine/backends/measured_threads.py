"""Steps whose number of threads is measured: one session for each number that some batch needs."""

import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ancestral.engine.fastest_threads import Action, Timed, counts_up_to, fastest, in_short_rounds
from ancestral.engine.session import Array, Binding, Session
from ancestral.engine.thread_choice import ThreadChoice, ThreadKey, ThreadStore
from ancestral.signature import GraphSignature
from ancestral.step_tensors import POSITION


@dataclass(frozen=True, slots=True)
class MeasuredThreads:
    """The number of threads of a bundle's steps for each batch: remembered, or measured once.

    Thread-safe: calls that ask at the same time wait for one measurement.

    Attributes:
        key: function that returns the key of a batch size.
        opened: function that loads the graph `step` with a number of threads.
        length: number of positions of an event.
        store: where choices are kept.
        timed: function that times actions in turns.
    """

    key: Callable[[int], ThreadKey]
    opened: Callable[[int], Session]
    length: int
    store: ThreadStore
    timed: Timed = in_short_rounds
    _known: dict[int, int] = field(default_factory=dict, init=False)
    _lock: AbstractContextManager[Any] = field(default_factory=threading.RLock, init=False)

    def of(self, rows: int) -> int:
        """Return the number of threads for steps of so many rows."""
        with self._lock:
            if rows not in self._known:
                self._known[rows] = self._choice(rows).threads
            return self._known[rows]

    def _choice(self, rows: int) -> ThreadChoice:
        key = self.key(rows)
        found = self.store.find(key)
        if found is None:
            threads, times = fastest(counts_up_to(key.cores), self._step_of(rows), self.timed)
            found = ThreadChoice(key, threads, times)
            self.store.save(found)
        return found

    def _step_of(self, rows: int) -> Callable[[int], Action]:
        """Return a function from a number of threads to one step, at the middle of an event."""
        middle = np.full(rows, self.length // 2, np.int64)

        def opened(threads: int) -> Action:
            binding = self.opened(threads).bind({"b": rows, "s": 1})

            def step() -> None:
                binding.write(POSITION, middle)
                binding.run(1)

            return step

        return opened


@dataclass(frozen=True, slots=True)
class MeasuredSession:
    """A graph of steps that is loaded with the number of threads that a batch needs.

    Attributes:
        signature: inputs, outputs and carried tensors of the graph.
        threads: numbers of threads by batch.
        opened: function that loads the graph with a number of threads.
    """

    signature: GraphSignature
    threads: MeasuredThreads
    opened: Callable[[int], Session]
    _sessions: dict[int, Session] = field(default_factory=dict, init=False)
    _lock: AbstractContextManager[Any] = field(default_factory=threading.RLock, init=False)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        return self._session(len(inputs[POSITION])).run(inputs)

    def bind(self, sizes: Mapping[str, int]) -> Binding:
        return self._session(sizes["b"]).bind(sizes)

    def _session(self, rows: int) -> Session:
        count = self.threads.of(rows)
        with self._lock:
            if count not in self._sessions:
                self._sessions[count] = self.opened(count)
            return self._sessions[count]
