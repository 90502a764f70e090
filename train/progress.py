"""A training run on the terminal: steps, bits/dim, terms of a bound, and how long it will take."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ancestral.progress import progress_bar
from ancestral.train.state import Evaluation
from ancestral.units import fixed


@contextmanager
def training_bar(
    name: str, steps: int, unit: str = "bits/dim"
) -> Iterator[Callable[[int, Evaluation | None], None]]:
    """Show a run on standard error: pass what it gives to `train` as progress.

    Args:
        name: of the run.
        steps: number of steps of the whole run.
        unit: of the losses, as `ancestral.units.bits_unit` says it.
    """
    with progress_bar(name, keep=True) as show:
        yield lambda step, evaluation: show(
            step, steps, None if evaluation is None else described(evaluation, unit)
        )


def described(evaluation: Evaluation, unit: str = "bits/dim") -> str:
    """An evaluation in words: bits/dim; with latents, below it log p(x | z), KL, latents in use."""
    train, validation = evaluation.train_bits, evaluation.validation_bits
    bits = f"{unit} train {fixed(train, 3)} validation {fixed(validation, 3)}"
    if evaluation.reconstruction is None:
        return bits
    kl = "" if evaluation.kl is None else f", KL {evaluation.kl:.1f}"
    terms = f"log p(x|z) {evaluation.reconstruction:.1f}{kl} nats, {evaluation.active} active"
    return f"{bits}\n{terms}"


_STEPS, _ENOUGH_S, _SHORT_S = 5, 5.0, 60.0
"""Steps that are timed, fewer if they take so long; a shorter run than the last needs no word."""


class Pace:
    """Says once, after the first few steps, how long all of them will take.

    The first step is not timed: it allocates memory and chooses algorithms. No result of a run
    depends on the clock.
    """

    def __init__(self, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin before the first step.

        Args:
            steps: of the whole run.
            clock: seconds from any origin.
        """
        self._steps, self._clock = steps, clock
        self._first: tuple[int, float] | None = None
        self._told = False

    def __call__(self, step: int) -> float | None:
        """Seconds that the steps to come will take, once and where it is worth a word; else None.

        Args:
            step: the number of steps taken.
        """
        if self._told:
            return None
        if self._first is None:
            self._first = step, self._clock()
            return None
        timed, seconds = step - self._first[0], self._clock() - self._first[1]
        if timed < 1 or (timed < _STEPS and seconds < _ENOUGH_S):
            return None
        self._told = True
        left = seconds / timed * (self._steps - step)
        return left if left >= _SHORT_S else None


def in_words(seconds: float) -> str:
    """A duration, roughly.

    >>> in_words(95), in_words(6000), in_words(180_000), in_words(900_000)
    ('2 minutes', '1.7 hours', '50 hours', '10 days')
    """
    if seconds < 5400:
        minutes = max(1, round(seconds / 60))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    hours = seconds / 3600
    if hours < 72:
        return f"{hours:.1f} hours" if hours < 9.95 else f"{hours:.0f} hours"
    return f"{hours / 24:.0f} days"
