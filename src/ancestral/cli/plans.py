"""`ancestral plans`: list and remove the TensorRT plans that were compiled."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ancestral.cli.options import Json
from ancestral.cli.output import json_text, put, say, show, table
from ancestral.errors import InvalidInput

if TYPE_CHECKING:
    from ancestral.plans.record import PlanRecord

HEADS = ("plan", "graph", "for", "sizes", "MiB", "built in")
"""Headings of the columns that `row` returns."""


def plans(
    remove: Annotated[
        str | None,
        typer.Option(
            rich_help_panel="Plans",
            metavar="PLAN",
            help="Remove the plans whose name begins with PLAN, or every plan with all.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
) -> None:
    """List or remove compiled TensorRT plans.

    Plans are made by `ancestral compile`. When all of them take more than 32 GiB, those that were
    not used for the longest time are removed. The exit code is 1 if a plan is damaged.
    """
    from ancestral.plans.store import PlanStore

    store = PlanStore()
    if remove is not None:
        removed = store.remove("" if remove == "all" else _prefix(remove))
        if not removed and remove != "all":
            raise InvalidInput(
                f"--remove: expected the beginning of a plan's name, got {remove!r}; "
                f"list the plans with `ancestral plans`"
            )
        say(f"removed {len(removed)} plans from {store.folder}")
        return
    records, problems = store.records()
    problems += [problem for record in records if (problem := store.problem(record))]
    if json:
        kept = [{"plan": r.key.digest, **r.model_dump(mode="json")} for r in records]
        put(json_text({"folder": str(store.folder), "plans": kept, "problems": problems}))
    else:
        rows = [(*row(record), _day(record.built)) for record in records]
        show(table(str(store.folder), (*HEADS, "built"), rows))
    for problem in problems:
        say(problem)
    if problems:
        raise typer.Exit(1)


def row(record: "PlanRecord") -> tuple[str, ...]:
    """Return the cells of a plan in a table."""
    from ancestral.plans.key import sizes_text

    key = record.key
    return (
        key.digest[:12],
        key.graph,
        f"{key.module} {key.version}: {', '.join(key.targets)}",
        "; ".join(map(sizes_text, key.profiles)),
        f"{record.size / 2**20:.1f}",
        f"{record.seconds:.1f} s",
    )


def _prefix(text: str) -> str:
    """Return the text after checking that it can begin a plan's name.

    Raises:
        InvalidInput: it is not 4 or more hexadecimal digits.
    """
    if not re.fullmatch("[0-9a-f]{4,}", text):
        raise InvalidInput(
            f"--remove: expected the first 4 or more hexadecimal digits of a plan's name, or all, "
            f"got {text!r}"
        )
    return text


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
