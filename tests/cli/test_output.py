"""Commands print plain text: rich's markup has no effect in it."""

import pytest

from ancestral.cli.output import show, table


def test_markup_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A title may contain a file name with "[/]", which rich would refuse as markup."""
    show(table("events of a[red]b [/] of some length", ["[b]x[/b]", "[/]"], [["[i]y", "[/i]"]]))
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.startswith("events of a[red]b [/] of some length [b]x[/b] [/]")
    assert "[i]y [/i]" in printed
