"""`--help`: a first sentence, options in groups, and examples that run, in 80 columns."""

import inspect
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from ancestral.cli.commands import BULK, COMMANDS, EXAMPLES
from ancestral.cli.help_page import GROUPS
from ancestral.cli.main import run
from tests import test_doc_commands as doc
from tests.doc_commands import blocks, substituted
from tests.doc_folders import make

from .conftest import Cli

WIDTH = 80
BY_NAME = {
    command.__name__.replace("_", "-"): (command, examples)
    for commands in COMMANDS.values()
    for command, examples in commands.items()
}
IN_BULK = {
    f"bulk {command.__name__.replace('_', '-')}": (command, examples)
    for command, examples in BULK.items()
}
EVERY = BY_NAME | IN_BULK
NOT_RUN = ("ancestral compile", "ancestral plans --remove", "ancestral serve")
"""Examples that need TensorRT, would remove the user's plans, or end only when they are stopped."""


@pytest.fixture(autouse=True)
def width(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(WIDTH))


def quicker(text: str) -> str:
    """Return an example with what the pages of the docs run instead, for speed."""
    for page in (
        "docs/images.md",
        "docs/files.md",
        "docs/getting-started.md",
        "docs/text.md",
        "docs/bulk.md",
    ):
        text = substituted(page, text)
    return text


def examples_in(text: str) -> list[str]:
    """Return the lines of a help text after the heading of its examples."""
    _, _, rest = text.partition("\n Examples:\n")
    return [line.strip() for line in rest.splitlines() if line.strip()]


def panels_in(text: str) -> list[str]:
    """Return the headings of the groups in a help text, in order."""
    return re.findall(r"^╭─ (.*?) ─+╮$", text, flags=re.MULTILINE)


def test_every_command_is_listed_on_one_line(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    assert panels_in(result.out) == ["Options", *COMMANDS, "Large jobs"]
    for name, (command, _) in BY_NAME.items():
        first = (inspect.getdoc(command) or "").partition("\n")[0]
        assert re.search(rf"^│ {name} +{re.escape(first)} +│$", result.out, flags=re.MULTILINE)
    assert "130" in result.out
    inside = cli("bulk", "--help").out
    for name, (command, _) in IN_BULK.items():
        first = (inspect.getdoc(command) or "").partition("\n")[0]
        assert re.search(rf"^│ {name[5:]} +{re.escape(first)} +│$", inside, flags=re.MULTILINE)


def test_examples_of_the_program(cli: Cli) -> None:
    assert examples_in(cli("--help").out) == list(EXAMPLES)
    for example in EXAMPLES:
        doc.parse(shlex.split(example)[1:])


@pytest.mark.parametrize("command", EVERY)
def test_first_sentence(cli: Cli, command: str) -> None:
    """The first sentence of a help text is a paragraph of one line that ends with a full stop."""
    function, _ = EVERY[command]
    first = (inspect.getdoc(function) or "").split("\n\n")[0]
    assert re.fullmatch(r"[A-Z][^\n]*\.", first)
    result = cli(*command.split(), "--help")
    assert result.code == 0
    assert [line.strip() for line in result.out.splitlines() if line.strip()][1] == first


@pytest.mark.parametrize("command", ["", "bulk", *EVERY])
def test_fits_the_terminal(cli: Cli, command: str) -> None:
    text = cli(*command.split(), "--help").out
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []
    assert "…" not in text


@pytest.mark.parametrize("command", EVERY)
def test_options_are_in_groups(cli: Cli, command: str) -> None:
    """The groups have the same names and the same order in every command."""
    text = cli(*command.split(), "--help").out
    panels = [name for name in panels_in(text) if name != "Arguments"]
    assert panels == [name for name in GROUPS if name in panels]
    assert panels[-1] == "Help"
    # Paths, and the ranges of numbers, are all that is said of types.
    assert "<" not in re.sub(
        r"<(path|str|list\[(Path|str)\])>|\[[\d.]+<=?x(<=\d+)?\]|\[x>=[\d.]+\]", "", text
    )


@pytest.mark.parametrize("command", EVERY)
def test_options_are_described(command: str) -> None:
    """The help of every option is a sentence that ends with a full stop."""
    parameters: list[Any] = doc.command_of(command.split())[0].params
    for each in parameters:
        assert re.fullmatch(r"[A-Z.a-z].*\.", each.help, flags=re.DOTALL), each.opts
        assert "  " not in each.help


@pytest.mark.parametrize("command", EVERY)
def test_examples_parse(cli: Cli, command: str) -> None:
    examples = examples_in(cli(*command.split(), "--help").out)
    assert examples == list(EVERY[command][1])
    assert 2 <= len(examples) <= 4
    for example in examples:
        program, *arguments = shlex.split(example)
        assert (program, doc.command_of(arguments)[1]) == ("ancestral", command)
        doc.parse(arguments)


def test_no_arguments_shows_help(cli: Cli) -> None:
    result = cli()
    assert "Usage" in result.out + result.err


@pytest.mark.slow
def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The examples run in the order of the help, in one folder with the files of the docs."""
    monkeypatch.chdir(tmp_path)
    for name in ("autoencoder-folder", "book.txt", "gpt2-folder"):
        make(name, tmp_path, tmp_path)
    data = next(block.text for block in blocks("docs/images.md") if "half.npz" in block.text)
    exec(compile(data, "docs/images.md", "exec"), {"__name__": "images"})
    (tmp_path / "texts.jsonl").write_text('"the cat"\n{"text": "the dog"}\n')
    lines = [each for _, examples in EVERY.values() for each in examples]
    lines.insert(lines.index("ancestral info bundle"), "ancestral export run3 -o vae-bundle")
    for text in lines:
        if not text.startswith(NOT_RUN):
            assert run(shlex.split(quicker(text))[1:]) == 0, text
