"""A training run on the terminal: steps, time left, bits/dim, and the terms of a bound."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ancestral.train.state import Look
from ancestral.units import fixed


class ProgressBar:
    """A bar on standard error; pass it to `train` as progress, inside of its with block."""

    def __init__(self, name: str, steps: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[bits]}"),
            console=Console(stderr=True),
        )
        self._task = self._progress.add_task(name, total=steps, bits="")

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def __call__(self, step: int, look: Look | None) -> None:
        """Show the step and, where there was a look, its bits/dim."""
        self._progress.update(self._task, completed=step)
        if look is not None:
            self._progress.update(self._task, bits=described(look))


def described(look: Look) -> str:
    """A look in words: bits/dim; with latents, log p(x | z), KL and the latents in use below."""
    bits = f"bits/dim train {fixed(look.train_bits, 3)} validation {fixed(look.validation_bits, 3)}"
    if look.reconstruction is None:
        return bits
    kl = "" if look.kl is None else f", KL {look.kl:.1f}"
    return f"{bits}\nlog p(x|z) {look.reconstruction:.1f}{kl} nats, {look.active} active"
