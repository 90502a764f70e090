"""The progress of a training run: its losses, the time it will take, and its curves."""

import io
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from ancestral.files.atomic import write_together
from ancestral.progress import progress_bar
from ancestral.train.state import Evaluation
from ancestral.units import fixed

_STEPS, _ENOUGH_S, _SHORT_S = 5, 5.0, 60.0
"""`Pace` times this many steps, or this many seconds; it is silent if under a minute is left."""


@contextmanager
def training_bar(
    name: str, steps: int, unit: str = "bits/dim"
) -> Iterator[Callable[[int, Evaluation | None], None]]:
    """Show the progress of a training run on standard error.

    Args:
        name: name of the run.
        steps: number of steps of the whole run.
        unit: unit of the losses, from `ancestral.units.bits_unit`.

    Yields:
        The function to pass to `train` as `progress`.
    """
    with progress_bar(name, keep=True) as show:
        yield lambda step, evaluation: show(
            step, steps, None if evaluation is None else described(evaluation, unit)
        )


def described(evaluation: Evaluation, unit: str = "bits/dim") -> str:
    """Return an evaluation as text; with latents, a second line has the terms of the bound."""
    train, validation = evaluation.train_bits, evaluation.validation_bits
    bits = f"{unit} train {fixed(train, 3)} validation {fixed(validation, 3)}"
    if evaluation.reconstruction is None:
        return bits
    kl = "" if evaluation.kl is None else f", KL {evaluation.kl:.1f}"
    terms = f"log p(x|z) {evaluation.reconstruction:.1f}{kl} nats, {evaluation.active} active"
    return f"{bits}\n{terms}"


class Pace:
    """Estimates the time that a run will take, once, after its first few steps.

    The first step is not timed, since it allocates memory and chooses algorithms. No result of a
    run depends on the clock.
    """

    def __init__(self, steps: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Start before the first step.

        Args:
            steps: number of steps of the whole run.
            clock: function that returns seconds from any origin.
        """
        self._steps, self._clock = steps, clock
        self._first: tuple[int, float] | None = None
        self._reported = False

    def __call__(self, step: int) -> float | None:
        """Return the seconds that the remaining steps will take, once; otherwise None.

        None is also returned if less than a minute is left.

        Args:
            step: number of steps taken.
        """
        if self._reported:
            return None
        if self._first is None:
            self._first = step, self._clock()
            return None
        timed, seconds = step - self._first[0], self._clock() - self._first[1]
        if timed < 1 or (timed < _STEPS and seconds < _ENOUGH_S):
            return None
        self._reported = True
        left = seconds / timed * (self._steps - step)
        return left if left >= _SHORT_S else None


def in_words(seconds: float) -> str:
    """Return a rough duration as text.

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


def write_curves(
    folder: Path, history: Sequence[Evaluation], title: str, unit: str = "bits/dim"
) -> None:
    """Write history.json (one object per evaluation) and curves.png (the losses in `unit`).

    Raises:
        ImportError: matplotlib is not installed.
        OSError: a file cannot be written.
    """
    rows = json.dumps([asdict(each) for each in history], indent=1).encode()
    picture = _picture(history, title, unit)
    write_together({folder / "history.json": rows, folder / "curves.png": picture})


def _picture(history: Sequence[Evaluation], title: str, unit: str) -> bytes:
    """Plot the losses; with latents, also -log p(x | z), KL and the number of latents in use."""
    from matplotlib.figure import Figure

    latent = any(each.reconstruction is not None for each in history)
    panels = 3 if latent else 1
    figure = Figure(figsize=(6, 4 + 2 * (panels - 1)), dpi=120, layout="constrained")
    heights = [4, *[2] * (panels - 1)]
    axes, *others = figure.subplots(panels, sharex=True, height_ratios=heights, squeeze=False)[:, 0]
    steps = [each.step for each in history]
    axes.plot(steps, [each.train_bits for each in history], label="training batches, with dropout")
    axes.plot(
        steps, [each.validation_bits for each in history], label="validation, averaged weights"
    )
    axes.set(ylabel=unit, title=title)
    axes.legend()
    if latent:
        terms = {
            "-log p(x | z)": [
                (each.step, -each.reconstruction)
                for each in history
                if each.reconstruction is not None
            ],
            "KL(q(z | x) || p(z))": [
                (each.step, each.kl) for each in history if each.kl is not None
            ],
        }
        for label, points in terms.items():
            if points:
                others[0].plot(*zip(*points, strict=True), label=label)
        others[0].set(ylabel="nats, validation")
        others[0].legend()
        others[1].plot(steps, [each.active for each in history])
        others[1].set(ylabel="latents in use", ylim=(0, None))
    for each in (axes, *others):
        each.grid(alpha=0.3)
    (axes, *others)[-1].set(xlabel="step")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", backend="agg")
    return picture.getvalue()
