"""Measure how many threads make a step fastest: counts are compared in pairs, in short rounds.

A step of a small model takes 0.1 to 1 ms, and its products are too small to share: more threads
then make it slower. No rule by size is right on every processor, so it is measured.
"""

from collections.abc import Callable, Sequence

import numpy as np

from ancestral.engine.timing import interleaved, seconds

Action = Callable[[], object]
Timed = Callable[[Sequence[Action]], Sequence[Sequence[float]]]
"""A function that runs actions in turns, and returns the seconds of each action in each round."""
GAIN = 0.97
"""More threads are chosen only if a step takes at most this fraction of the time with fewer."""
_ROUNDS, _WARM_UPS = 7, 1
_ROUND_SECONDS = 0.02
_MOST_STEPS = 200
_LEAST_STEPS = 3


def counts_up_to(cores: int) -> tuple[int, ...]:
    """Return the numbers of threads that are tried: each up to 4, then steps of a half, and all.

    >>> counts_up_to(2), counts_up_to(16)
    ((1, 2), (1, 2, 3, 4, 6, 9, 13, 16))
    """
    counts = [1]
    while counts[-1] < cores:
        counts.append(min(cores, max(counts[-1] + 1, counts[-1] * 3 // 2)))
    return tuple(counts)


def fastest(
    counts: Sequence[int], opened: Callable[[int], Action], timed: Timed
) -> tuple[int, dict[int, float]]:
    """Return the number of threads with the fastest step, and the step's time with each number.

    The best so far and the next number are timed in turns, so at most two sessions exist at a time.

    Args:
        counts: numbers of threads, in rising order.
        opened: function that makes the action of one step with so many threads.
        timed: function that times one or two actions.

    Returns:
        The number, and the median time of a step in milliseconds by number, each from the rounds
        in which the number was tried first.
    """
    best, step = counts[0], opened(counts[0])
    times: dict[int, float] = {}
    for count in counts[1:]:
        other = opened(count)
        ours, theirs = (float(np.median(rounds)) * 1e3 for rounds in timed((step, other)))
        times.setdefault(best, ours)
        times[count] = theirs
        if theirs <= GAIN * ours:
            best, step = count, other
        # The one that lost must be free before the next is loaded.
        del other
    if not times:
        times[best] = float(np.median(timed((step,))[0])) * 1e3
    return best, times


def in_short_rounds(actions: Sequence[Action]) -> list[tuple[float, ...]]:
    """Return the seconds of each action in each round, averaged over the repeats of a round.

    The threads of a session spin for a while after a run. The repeats make that short compared
    with a round, in which the other session runs.
    """
    slowest = max(min(seconds(action) for _ in range(_LEAST_STEPS)) for action in actions)
    repeats = min(_MOST_STEPS, max(_LEAST_STEPS, int(_ROUND_SECONDS / max(slowest, 1e-9))))

    def repeated(action: Action) -> Action:
        def run() -> None:
            for _ in range(repeats):
                action()

        return run

    found = interleaved([repeated(action) for action in actions], _ROUNDS, _WARM_UPS)
    return [tuple(each / repeats for each in rounds) for rounds in found]
