"""What commands print is text: markup of rich has no effect in it."""

import pytest

from ancestral.cli.output import show, table


def test_markup_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A file's name is in the title of a table; "[/]" would be an error of rich."""
    show(table("events of a[red]b [/] of some length", ["[b]x[/b]", "[/]"], [["[i]y", "[/i]"]]))
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("events of a[red]b [/] of some length [b]x[/b] [/]")
    assert "[i]y [/i]" in printed
