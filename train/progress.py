"""A training run on the terminal: steps, time left, bits/dim, and the terms of a bound."""

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ancestral.progress_lines import ProgressLines, has_bars
from ancestral.train.state import Evaluation
from ancestral.units import fixed


class ProgressBar:
    """A bar on standard error; pass it to `train` as progress, inside of its with block.

    Where standard error is not a terminal it is a line every 10 s, and one at the end.
    """

    def __init__(self, name: str, steps: int, unit: str = "bits/dim") -> None:
        """Make it.

        Args:
            name: of the run.
            steps: of all of it.
            unit: of the losses, as `ancestral.units.bits_unit` says it.
        """
        self._shown, self._unit = (_Bar if has_bars() else _Lines)(name, steps), unit

    def __enter__(self) -> "ProgressBar":
        self._shown.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shown.stop()

    def __call__(self, step: int, look: Evaluation | None) -> None:
        """Show the step and, where there was a look, its bits/dim."""
        self._shown.show(step, None if look is None else described(look, self._unit))


class _Bar:
    """On a terminal."""

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
        self.start, self.stop = self._progress.start, self._progress.stop

    def show(self, step: int, bits: str | None) -> None:
        self._progress.update(self._task, completed=step)
        if bits is not None:
            self._progress.update(self._task, bits=bits)


class _Lines:
    """In a file or a pipe."""

    def __init__(self, name: str, steps: int) -> None:
        self._lines, self._steps = ProgressLines(name), steps

    def start(self) -> None:
        self._lines.__enter__()

    def show(self, step: int, bits: str | None) -> None:
        self._lines(step, self._steps, None if bits is None else bits.replace("\n", ", "))

    def stop(self) -> None:
        self._lines.__exit__(None, None, None)
        self._lines.say()


def described(look: Evaluation, unit: str = "bits/dim") -> str:
    """A look in words: bits/dim; with latents, log p(x | z), KL and the latents in use below."""
    bits = f"{unit} train {fixed(look.train_bits, 3)} validation {fixed(look.validation_bits, 3)}"
    if look.reconstruction is None:
        return bits
    kl = "" if look.kl is None else f", KL {look.kl:.1f}"
    return f"{bits}\nlog p(x|z) {look.reconstruction:.1f}{kl} nats, {look.active} active"
