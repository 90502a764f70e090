"""The reference of the command line, made from the help of the commands."""

from collections.abc import Iterator
from typing import Any

import typer
import typer.main
from sphinx.application import Sphinx
from typer.cli import get_docs_for_click

from ancestral.cli.main import application

PAGE = "reference/cli"


def markdown() -> Iterator[str]:
    """Yield the Markdown of each command: what `typer utils docs` writes, then examples."""
    group = typer.main.get_command(application())
    with group.make_context("ancestral", [], resilient_parsing=True) as context:
        yield from _of_group(group, context, "ancestral")


def _of_group(group: Any, context: Any, prefix: str) -> Iterator[str]:
    """Yield the Markdown of the commands of a group, and of the groups in it."""
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            with command.make_context(name, [], parent=context, resilient_parsing=True) as inner:
                yield from _of_group(command, inner, f"{prefix} {name}")
            continue
        text = get_docs_for_click(obj=command, ctx=context, indent=1, name=name, call_prefix=prefix)
        examples = "\n".join(f"$ {line}" for line in command.EXAMPLES)
        yield f"{text}**Examples**:\n\n```console\n{examples}\n```\n"


def append(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the sections to the page."""
    if page == PAGE:
        source[0] += "\n" + "\n".join(markdown())


def always(app: Sphinx, *changes: object) -> list[str]:
    """Return the page: Sphinx does not see when the help of a command changes."""
    return [PAGE]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.connect("env-get-outdated", always)
    app.connect("source-read", append)
    return {"parallel_read_safe": True}
