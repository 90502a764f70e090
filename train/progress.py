"""A training run on the terminal: steps, time left, bits/dim, and the terms of a bound."""

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
