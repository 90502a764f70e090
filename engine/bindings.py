"""The binding that an engine keeps between two calls."""

from collections import deque
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import final

import numpy as np

from ancestral.engine import step_loop
from ancestral.engine.session import Binding


@final
class Bindings:
    """Keeps one binding: a call takes it out, and puts its own back when it ends.

    Calls that overlap, in several threads or because a callback makes one, never share a binding:
    a call that finds none makes its own, and of those that end the last one is kept. Taking and
    putting back are one operation of a deque each, so that there is no lock for which a callback, a
    signal handler or a thread that a callback joins could wait.
    """

    def __init__(self) -> None:
        self._kept: deque[tuple[Hashable, Binding]] = deque(maxlen=1)

    @contextmanager
    def taken(self, key: Hashable, make: Callable[[], Binding]) -> Iterator[Binding]:
        """A binding that no other call has meanwhile.

        Where an exception ends the block, the binding is dropped, for it may have stopped anywhere.
        So it is where a log-probability in it is NaN, also one that the call discards: the caches
        may hold NaN then, in slots that the next call masks, and a masked NaN is still NaN.

        Args:
            key: of the graph and the sizes that the binding is for.
            make: makes one, where none is kept or the one that is kept has another key; that one is
                dropped first, so that its memory is free.
        """
        binding = self._take(key)
        if binding is None:
            binding = make()
        yield binding
        if not np.isnan(step_loop.read_log_p(binding)).any():
            self._kept.append((key, binding))

    def _take(self, key: Hashable) -> Binding | None:
        try:
            kept, binding = self._kept.pop()
        except IndexError:
            return None
        return binding if kept == key else None
