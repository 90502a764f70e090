"""How far a command is: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ancestral.progress_lines import ProgressLines, has_bars


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[..., None]]:
    """Show on standard error how much of how much is done: a bar, or a line every 10 s.

    What it yields takes both numbers, and words on what is being done, if there are any.
    """
    if not has_bars():
        with ProgressLines(what) as lines:
            yield lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(done: int, total: int, words: str = "") -> None:
            told = f"{what}: {words}" if words else what
            bar.update(task, description=told, completed=done, total=total or None)

        yield show


@contextmanager
def stages(what: str) -> Iterator[Callable[[str], None]]:
    """Say on standard error every 10 s what is being done; the name of a stage begins it."""
    with ProgressLines(what) as lines:
        yield lines.at
