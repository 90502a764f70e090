"""What the cache of each slot holds, and which prompts may take it instead of being prefilled."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ancestral.engine import row_cache, row_loop, step_graph, step_loop
from ancestral.engine.budget import CHUNK
from ancestral.engine.prefixes import Held, PrefixStore, Prompt, best
from ancestral.engine.request import Task
from ancestral.engine.session import Binding
from ancestral.signature import GraphSignature

Loop = tuple[GraphSignature, Binding]
"""Signature of a step graph, and its binding."""


class Donors:
    """The caches of all slots, with or without a tenant, and those that are kept of earlier ones.

    Attributes:
        position: next position of each row, [rows]; in an empty slot where its last tenant ended.
        values: values of each row up to its position, [rows, t].
    """

    def __init__(self, rows: int, t: int, memory: int) -> None:
        """Create empty caches.

        Args:
            rows: number of rows.
            t: number of positions of a row.
            memory: most bytes of caches of rows that have left their slots.
        """
        self.position = np.zeros(rows, np.int64)
        self.values = np.zeros((rows, t), np.int64)
        self._t = t
        # The last tenant of each row, unless its cache is of no use; and when it left.
        self._tenants: list[Task | None] = [None] * rows
        self._left = [0] * rows
        # Rows whose cache may hold NaN, because no log p was computed since they were filled.
        self._unseen: set[int] = set()
        self._store = PrefixStore(memory)

    @property
    def parked(self) -> list[int]:
        """Rows that have or had a tenant."""
        return [row for row, task in enumerate(self._tenants) if task is not None]

    def place(self, loop: Loop, prompt: Prompt, free: list[int]) -> tuple[int, int]:
        """Choose an empty slot: the one whose own cache saves most, or that was left first.

        Args:
            loop: the loop of all rows.
            prompt: prompt of the next tenant.
            free: empty slots.

        Returns:
            The slot, and the number of positions that its own cache saves.
        """
        row, own = best(self._caches(loop, free), prompt, exact=not self._rewinds(loop))
        return (row, own) if own else (min(free, key=lambda each: self._left[each]), 0)

    def admit(self, loop: Loop, row: int, task: Task, start: step_loop.Start, own: int) -> None:
        """Write the inputs of a new tenant, and keep what the last one leaves if it is worth it.

        Args:
            loop: the loop of all rows.
            row: row of the tenant.
            task: its request.
            start: its inputs.
            own: number of positions that it takes from the row's own cache.
        """
        past = row_cache.read_log_p(loop[1], row)[:own]
        self._save(loop, row, own)
        row_loop.take(*loop, row, start)
        if own:
            row_cache.write_log_p(loop[1], row, past)
        self._tenants[row] = task
        self.position[row] = max(start.first_position, own)
        self.values[row] = np.maximum(start.observed[0], 0)

    def share(self, loop: Loop, row: int, prompt: Prompt) -> None:
        """Copy the longest part of a prompt that another cache holds, and move its row there."""
        exact, rows = not self._rewinds(loop), range(len(self.position))
        others = self._caches(loop, (each for each in rows if each != row))
        source, positions = best(others, prompt, exact=exact)
        key, kept = best(self._store.held, prompt, exact=False)
        if max(positions, kept) <= self.position[row]:
            return
        if positions >= kept:
            row_cache.copy_row(*loop, source, row, positions)
            if source in self._unseen:
                self._unseen.add(row)
        else:
            row_cache.write_row(*loop, row, kept, self._store.take(key))
        self.position[row] = max(positions, kept)

    def filled(self, row: int) -> None:
        """Note that positions of a row were run without predictions."""
        self._unseen.add(row)

    def seen(self, row: int) -> None:
        """Note that log p of a row was computed since, and is not NaN."""
        self._unseen.discard(row)

    def release(self, loop: Loop, row: int) -> None:
        """Leave the cache of a row for others, unless it may hold NaN."""
        self._left[row] = 1 + max(self._left)
        if row in self._unseen:
            row_cache.distrust(loop[1], row)
            self._unseen.discard(row)
        if np.isnan(row_cache.read_log_p(loop[1], row)).any():
            self._tenants[row] = None
        else:
            row_cache.keep(loop[1], row, self.values[row])

    def _save(self, loop: Loop, row: int, own: int) -> None:
        """Keep a copy of a cache that a new tenant overwrites, unless another cache has it.

        Shorter remainders than a chunk are not worth a copy.
        """
        if self._tenants[row] is None or not self._rewinds(loop):
            return
        held = self._held(row)
        others = [each for each in range(len(self.position)) if each != row]
        found = [*self._caches(loop, others), *self._store.held]
        if len(held.values) - own < CHUNK or any(each.covers(held) for _, each in found):
            return
        positions = len(held.values)
        size = row_cache.bytes_of(loop[0], positions)
        self._store.save(held, size, lambda: row_cache.read_row(*loop, row, positions))

    def _caches(self, loop: Loop, rows: Iterable[int]) -> list[tuple[int, Held]]:
        """Return those of some rows whose caches others may take, and what they hold."""
        if not step_graph.prefills(loop[0], self._t):
            return []
        return [(row, self._held(row)) for row in rows if self._tenants[row] is not None]

    def _held(self, row: int) -> Held:
        task = self._tenants[row]
        assert task is not None
        values: NDArray[np.int64] = self.values[row, : self.position[row]]
        prompt = min(task.begin, self._t - 1)
        return Held(values.copy(), task.label, task.prompt_log_p, prompt, task.prefix_scope)

    def _rewinds(self, loop: Loop) -> bool:
        return step_graph.rewinds(loop[0], self._t)
