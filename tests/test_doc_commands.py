"""Every command line of README.md and docs/*.md: its options exist, and it runs.

A line that is neither run nor exempt (tests/doc_commands.py) turns these tests red. The Python
blocks of a page run too, between its command lines.
"""

import re
import shlex
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer.main

from ancestral.cli.main import application, run
from tests.doc_commands import (
    EXEMPT,
    ROOT,
    SUBSTITUTIONS,
    Line,
    in_text,
    lines,
    mentions,
    pages,
    python_blocks,
    substituted,
)
from tests.text_toys import SENTENCES, tokenizer_json
from tests.train.test_data import write_mnist

COMMANDS: dict[str, Any] = vars(typer.main.get_command(application()))["commands"]
DEMO = {
    "README.md",
    "docs/backends.md",
    "docs/getting-started.md",
    "docs/images.md",
    "docs/verify.md",
}
"""Pages whose lines take the bundles that `make demo` leaves."""


def parse(arguments: list[str]) -> None:
    """Parse a command line of ancestral, and run nothing.

    Raises:
        typer.TyperException: an option or a command that does not exist, or a wrong value.
    """
    name, *rest = arguments
    assert name in COMMANDS, f"no command {name!r}"
    with COMMANDS[name].make_context(name, rest):
        pass


def of_ancestral(page: str) -> list[Line]:
    return [line for line in lines(page) if line.text.startswith("ancestral ")]


@pytest.mark.parametrize("page", pages())
def test_lines_parse(page: str) -> None:
    for line in of_ancestral(page):
        try:
            parse(shlex.split(line.text)[1:])
        except Exception as error:
            raise AssertionError(f"{line}: {error}") from error


def test_a_wrong_line_does_not_parse() -> None:
    (line,) = in_text("page", "    ancestral info bundle --chekc    # an option that is none\n")
    with pytest.raises(Exception, match="--chekc"):
        parse(shlex.split(line.text)[1:])


@pytest.mark.parametrize("page", pages())
def test_mentions_name_options_that_exist(page: str) -> None:
    for mention in mentions(page):
        _, name, *rest = mention.split()
        assert name in COMMANDS, f"{page}: {mention}"
        known = {each for option in COMMANDS[name].params for each in option.opts}
        for word in rest:
            assert not re.match("--?[a-z]", word) or word in known, f"{page}: {mention}"


def test_every_line_is_run_or_exempt() -> None:
    for page in pages():
        for line in lines(page):
            runs = page in SUBSTITUTIONS and line.text.startswith("ancestral ")
            assert line.exempt or runs, f"{line}: neither run nor exempt: tests/doc_commands.py"


def test_no_entry_is_stale() -> None:
    every = [line for page in pages() for line in lines(page)]
    assert set(EXEMPT) == {line.exempt for line in every if line.exempt}
    for page, table in SUBSTITUTIONS.items():
        text = "\n".join(line.text for line in of_ancestral(page) if not line.exempt)
        assert text, f"{page}: no line is run"
        assert [old for old in table if old not in text] == [], page


def test_lines_are_found() -> None:
    """Indented, fenced, several in a line, without comments; not Python, not other text."""
    text = (
        "    ancestral info a; ancestral doctor   # both\n    some output\n\n```\n$ make b\n```\n"
        "```python\nmake = 1\n```\nancestral is a program\n"
    )
    assert [line.text for line in in_text("page", text)] == [
        "ancestral info a",
        "ancestral doctor",
        "make b",
    ]
    assert sum(len(of_ancestral(page)) for page in pages()) > 60


def steps(page: str) -> list[Line | str]:
    """The command lines that run and the Python blocks of a page, in its order."""
    commands = [(line.number, line) for line in of_ancestral(page) if line.exempt is None]
    every: list[tuple[int, Line | str]] = [*commands, *python_blocks(page)]
    return [step for _, step in sorted(every, key=itemgetter(0))]


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundles that `make demo` leaves, of models that hardly learned."""
    folder = tmp_path_factory.mktemp("demo")
    for name, model in (("digits", "transformer"), ("digits-vae", "vae")):
        run_of, out = str(folder / f"run-{name}"), str(folder / name)
        tiny = ["--recipe", "tiny", "--steps", "20", "--no-evaluate"]
        assert run(["train", *tiny, "--model", model, "-o", run_of]) == 0
        assert run(["export", run_of, "--no-verify", "-o", out]) == 0
    return folder


def prepare(page: str, folder: Path, tiny_bundle: Path) -> None:
    """Make the files that the lines of a page take, but for those of the demo."""
    (folder / "book.txt").write_text("\n".join(SENTENCES) * 30)
    match page:
        case "docs/images.md":
            write_autoencoder(folder / "autoencoder-folder")
        case "docs/text.md":
            write_gpt2(folder / "gpt2-folder")
        case "docs/checkpoints.md":
            write_gpt2(folder / "gpt2")
        case "docs/files.md":
            x = np.random.default_rng(0).integers(0, 17, (40, 8, 8))
            np.savez(folder / "data.npz", x=x)
        case "docs/security.md":
            (folder / "bundle").symlink_to(tiny_bundle)
        case "docs/training.md":
            (folder / "mnist").mkdir()
            write_mnist(folder / "mnist", packed=True, shape=(8, 8))
        case "docs/tensorrt.md":
            (folder / "BUNDLE").symlink_to(tiny_bundle)
        case _:
            assert page in DEMO, f"{page}: nothing makes the folders that its lines take"


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", *SUBSTITUTIONS])
def test_lines_run(
    page: str,
    tmp_path: Path,
    tiny_bundle: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In order, in one folder, as a reader would; each ends with 0."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    if page in DEMO:
        (tmp_path / "demo").symlink_to(request.getfixturevalue("demo"))
    prepare(page, tmp_path, tiny_bundle)
    names: dict[str, Any] = {"__name__": "page"}
    for step in steps(page):
        if isinstance(step, Line):
            assert run(substituted(step)) == 0, step
        else:
            exec(compile(step, page, "exec"), names)


def write_gpt2(folder: Path) -> None:
    """A small GPT-2 as transformers writes it, with the tokenizer of the toy that reads text."""
    from tests.train.hugging_face import oracle

    sizes = {"vocab_size": 293, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0}
    oracle.write(oracle.make("gpt2", **sizes), folder)
    (folder / "tokenizer.json").write_bytes(tokenizer_json())


def write_autoencoder(folder: Path) -> None:
    """A small AutoencoderKL as diffusers writes it."""
    from ancestral.dataspec import DataSpec
    from ancestral.train.models.autoencoder_kl import AutoencoderKL
    from tests.train.test_diffusers_folder import SHAPE, SIZE, write

    folder.mkdir()
    data = DataSpec(name="images", event_shape=(3, *SIZE), levels=256)
    write(folder, dict(AutoencoderKL(SHAPE, data).state_dict()))
