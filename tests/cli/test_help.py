"""`--help`: every command in its group, with a sentence and an example that parses."""

import shlex

import pytest

from ancestral.cli.main import _COMMANDS

from .conftest import Cli

EXAMPLES = {
    command.__name__.replace("_", "-"): example
    for commands in _COMMANDS.values()
    for command, example in commands.items()
}


def test_commands(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    for name in (*EXAMPLES, *_COMMANDS, "130"):
        assert name in result.out


@pytest.mark.parametrize("command", EXAMPLES)
def test_help_of_a_command(cli: Cli, command: str) -> None:
    result = cli(command, "--help")
    assert result.code == 0
    assert "Example: ancestral" in result.out


@pytest.mark.parametrize("command", EXAMPLES)
def test_examples_name_options_that_exist(cli: Cli, command: str) -> None:
    """With --help at the end an example is parsed, but not run; an unknown option exits 2."""
    program, *arguments = shlex.split(EXAMPLES[command])
    assert program == "ancestral"
    assert arguments[0] == command
    text = cli(command, "--help").out
    for option in (each for each in arguments if each.startswith("-")):
        assert option in text


def test_no_arguments_shows_help(cli: Cli) -> None:
    result = cli()
    assert "Usage" in result.out + result.err
