"""Prompts that share a beginning are prefilled once: which cache a prompt may take.

A cache of n positions is that of its first n values under its label. A prompt may take the
positions that it has in common with it, up to an end of one of the prompt's own chunks, so that
what remains runs in the same chunks as without sharing. The end of its last chunk counts only if
the other prompt ended there too: so positions of both prompts were run in the same chunks, and have
the same bits. A state that is replaced at each step is only the state of exactly n positions.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ancestral.engine.row_cache import Cache


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """What a cache was computed from.

    Attributes:
        values: values of its n positions, [n].
        label: label of the row; None without classes.
        scored: whether log p of all these positions was computed.
        prompt: number of first values that were prefilled; later ones were run step by step.
        scope: scope of the request; other scopes take nothing of it.
    """

    values: NDArray[np.int64]
    label: int | None
    scored: bool
    prompt: int
    scope: str = ""

    def covers(self, other: "Held") -> bool:
        """Return whether this cache is as good as the other one for every prompt."""
        return (
            (self.scope, self.label, self.prompt) == (other.scope, other.label, other.prompt)
            and self.scored >= other.scored
            and common(self.values, other.values) == len(other.values)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """A prompt that waits to be prefilled.

    Attributes:
        values: its values, [p].
        label: label of the row; None without classes.
        scored: whether its log p is asked for.
        ends: positions at which its chunks end, in order.
        scope: scope of the request; it takes nothing of other scopes.
    """

    values: NDArray[np.int64]
    label: int | None
    scored: bool
    ends: tuple[int, ...]
    scope: str = ""


def shared(held: Held, prompt: Prompt, *, exact: bool) -> int:
    """Return how many positions of a cache a prompt may take.

    Args:
        held: what the cache was computed from.
        prompt: the prompt.
        exact: whether the cache has a state, which is that of all its positions only.
    """
    if (held.scope, held.label) != (prompt.scope, prompt.label) or prompt.scored > held.scored:
        return 0
    most = common(held.values, prompt.values)
    if exact and most < len(held.values):
        return 0
    if exact:
        return most if most in prompt.ends else 0
    ends = prompt.ends if prompt.ends and prompt.ends[-1] == held.prompt else prompt.ends[:-1]
    return max((end for end in ends if end <= most), default=0)


def common(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """Return how many first values two sequences have in common.

    >>> common(np.array([1, 2, 3]), np.array([1, 2, 4, 5]))
    2
    """
    size = min(len(first), len(second))
    return int(np.argmin(np.append(first[:size] == second[:size], False)))


def best(caches: Iterable[tuple[int, Held]], prompt: Prompt, *, exact: bool) -> tuple[int, int]:
    """Return the key of the cache that shares most positions, and their number; (-1, 0) if none."""
    found = [(shared(held, prompt, exact=exact), -key) for key, held in caches]
    positions, key = max(found, default=(0, 1))
    return (-key, positions) if positions else (-1, 0)


class PrefixStore:
    """Host copies of caches of rows that have left their slots, within a number of bytes.

    The one that was used least recently is dropped first.
    """

    def __init__(self, limit: int) -> None:
        """Create an empty store.

        Args:
            limit: most bytes of all copies together.
        """
        self._limit, self._next = limit, 0
        self._kept: OrderedDict[int, tuple[Held, Cache, int]] = OrderedDict()

    @property
    def bytes(self) -> int:
        """Bytes of all copies."""
        return sum(size for _, _, size in self._kept.values())

    @property
    def held(self) -> list[tuple[int, Held]]:
        """Keys of the copies, and what each was computed from."""
        return [(key, held) for key, (held, _, _) in self._kept.items()]

    def save(self, held: Held, size: int, read: Callable[[], Cache]) -> None:
        """Keep a cache, unless it does not fit; drop others that it covers or displaces.

        Args:
            held: what it was computed from.
            size: its bytes.
            read: function that copies it.
        """
        if size > self._limit:
            return
        for key, other in self.held:
            if held.covers(other):
                del self._kept[key]
        while self.bytes + size > self._limit:
            self._kept.popitem(last=False)
        self._kept[self._next] = held, read(), size
        self._next += 1

    def take(self, key: int) -> Cache:
        """Return the cache of a key, which counts as used now."""
        self._kept.move_to_end(key)
        return self._kept[key][1]
