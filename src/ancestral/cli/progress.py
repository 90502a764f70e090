"""How far a command is: a bar on a terminal, plain lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ancestral.progress_lines import ProgressLines, has_bars


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show on standard error how much of how much is done: a bar, or a line every 10 s."""
    if not has_bars():
        with ProgressLines(what) as lines:
            yield lines
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(what, *columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def stages(what: str) -> Iterator[Callable[[str], None]]:
    """Say on standard error every 10 s what is being done; the name of a stage begins it."""
    with ProgressLines(what) as lines:
        yield lines.at
