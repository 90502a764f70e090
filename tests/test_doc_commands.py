"""Every command line and every Python block of README.md and docs/*.md parses and runs.

A line or a block that is neither run nor exempt (tests/doc_commands.py) fails these tests.
"""

import ast
import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import typer.main

from ancestral.cli.main import application, run
from tests.doc_commands import (
    EXEMPT,
    EXEMPT_PYTHON,
    OWN,
    ROOT,
    RUNS,
    Block,
    Line,
    blocks,
    in_text,
    lines,
    mentions,
    pages,
    steps,
    substituted,
)
from tests.doc_folders import make

COMMANDS: dict[str, Any] = vars(typer.main.get_command(application()))["commands"]


def command_of(words: list[str]) -> tuple[Any, str, list[str]]:
    """Return the command of a line without the program, its name, and the words after it."""
    name, *rest = words
    assert name in COMMANDS, f"no command {name!r}"
    command = COMMANDS[name]
    if rest and rest[0] in getattr(command, "commands", {}):
        inner, *rest = rest
        return command.commands[inner], f"{name} {inner}", rest
    return command, name, rest


def parse(arguments: list[str]) -> None:
    """Parse a command line of ancestral without running it.

    Raises:
        typer.TyperException: an option does not exist, or a value is wrong.
    """
    command, name, rest = command_of(arguments)
    with command.make_context(name, rest):
        pass


def of_ancestral(page: str) -> list[Line]:
    return [line for line in lines(page) if line.text.startswith("ancestral ")]


def of_python(page: str) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


@pytest.mark.parametrize("page", pages())
def test_lines_parse(page: str) -> None:
    for line in of_ancestral(page):
        try:
            parse(shlex.split(line.text)[1:])
        except Exception as error:
            raise AssertionError(f"{line}: {error}") from error


def test_wrong_line_does_not_parse() -> None:
    (line,) = in_text("page", "    ancestral info bundle --chekc    # no such option\n")
    with pytest.raises(Exception, match="--chekc"):
        parse(shlex.split(line.text)[1:])


@pytest.mark.parametrize("page", pages())
def test_mentions_name_options_that_exist(page: str) -> None:
    for mention in mentions(page):
        command, _, rest = command_of(mention.split()[1:])
        known = {each for option in command.params for each in option.opts}
        for word in rest:
            assert not re.match("--?[a-z]", word) or word in known, f"{page}: {mention}"


def test_every_line_is_run_or_exempt() -> None:
    for page in pages():
        for line in lines(page):
            runs = page in RUNS and line.text.startswith("ancestral ")
            assert line.exempt or runs, f"{line}: neither run nor exempt: tests/doc_commands.py"


def test_every_block_is_run_or_exempt() -> None:
    for page in pages():
        for block in of_python(page):
            runs = page in RUNS or page.startswith(OWN)
            assert block.exempt or runs, f"{block}: neither run nor exempt: tests/doc_commands.py"


def is_python(text: str) -> bool:
    """Return whether a text is Python with an assignment or an import."""
    try:
        found = ast.walk(ast.parse(text))
    except SyntaxError:
        return False
    return any(isinstance(node, ast.Assign | ast.Import | ast.ImportFrom) for node in found)


@pytest.mark.parametrize("page", pages())
def test_python_is_marked(page: str) -> None:
    """A block of Python without its language would not be run."""
    unmarked = [
        str(each) for each in blocks(page) if each.language != "python" and is_python(each.text)
    ]
    assert unmarked == []


def test_unmarked_python_is_found() -> None:
    assert is_python("engine = Engine.load('bundle')\n")
    assert not is_python("gpt2: 124,439,808 parameters\n")


def test_no_entry_is_stale() -> None:
    every = [line for page in pages() for line in lines(page)]
    assert set(EXEMPT) == {line.exempt for line in every if line.exempt}
    python = [block for page in pages() for block in of_python(page)]
    assert set(EXEMPT_PYTHON) == {block.exempt for block in python if block.exempt}
    for page, how in RUNS.items():
        parts = [*of_ancestral(page), *of_python(page)]
        text = "\n".join(part.text for part in parts if not part.exempt)
        assert text, f"{page}: nothing is run"
        assert [old for old in how.instead if old not in text] == [], page
        # Everything given is used, and is not created by the page.
        assert [name for name in how.given if name not in text] == [], page


def test_steps_are_found() -> None:
    """Commands are found in indented and fenced blocks, several per line or over two lines.

    Comments and other text are left out.
    """
    text = (
        "    ancestral info a; ancestral doctor   # both\n    some output\n\n```\n$ make b\n```\n"
        "```python\nmake = 1\n```\n```console\n$ ancestral verify \\\n    c  # d\n```\n"
        "ancestral is a program\n"
    )
    found = list(steps("page", text))
    assert [step.text for step in found if isinstance(step, Line)] == [
        "ancestral info a",
        "ancestral doctor",
        "make b",
        "ancestral verify c",
    ]
    (block,) = (step for step in found if isinstance(step, Block) and step.language == "python")
    assert (block.number, block.text) == (7, "make = 1\n")
    assert found.index(block) == 4
    assert sum(len(of_ancestral(page)) for page in pages()) > 60
    assert sum(len(of_python(page)) for page in pages()) > 20


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Callable[[str], Path]:
    """Return a function that creates a file or folder that pages assume, on first use."""
    folder = tmp_path_factory.mktemp("given")

    def path(name: str) -> Path:
        if not (folder / name).exists():
            make(name, folder, tiny_bundle)
        return folder / name

    return path


@pytest.mark.slow
@pytest.mark.parametrize("page", RUNS)
def test_page_runs(
    page: str, tmp_path: Path, given: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page's commands and blocks run in order in one folder, and each command exits with 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    for name in RUNS[page].given:
        (tmp_path / name).symlink_to(given(name))
    printed: list[str] = []
    names = {
        "__name__": "page",
        "print": lambda *values: printed.append(" ".join(map(str, values))),
    }
    with torch.random.fork_rng(devices=[]):
        for step in steps(page, (ROOT / page).read_text()):
            text = substituted(page, step.text)
            if step.exempt is not None:
                continue
            if isinstance(step, Line):
                assert run(shlex.split(text)[1:]) == 0, step
            elif step.language == "python":
                # Blank lines give a traceback the line numbers of the page.
                exec(compile("\n" * step.number + text, page, "exec"), names)
    python = "".join(block.text for block in of_python(page) if block.exempt is None)
    for truth in ("True", "False"):
        comments = re.findall(rf"^print\(.*\)  # {truth}\b", python, flags=re.MULTILINE)
        assert printed.count(truth) == len(comments), printed
