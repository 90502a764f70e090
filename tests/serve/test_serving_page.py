"""docs/serving.md: its examples run, its tables are complete, and its files are sound."""

import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
import typer.main

from ancestral.cli.main import application
from tests.doc_commands import ROOT, blocks, lines
from tests.serve.conftest import Running, Serve

PAGE = "docs/serving.md"
TEXT = (ROOT / PAGE).read_text()
ADDRESS = "127.0.0.1:8000"


@pytest.fixture(scope="module")
def running(
    serve: Serve, bundles: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> Running:
    """A server of the bundles that the page names."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "digits").symlink_to(bundles("tiny"))
    return serve("text", folder / "digits")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl(running: Running) -> None:
    examples = [line for line in lines(PAGE) if line.text.startswith("curl ")]
    assert len(examples) == 3
    for line in examples:
        command = shlex.split(line.text.replace(f"http://{ADDRESS}", running.url))
        done = subprocess.run([*command, "-sS"], capture_output=True, text=True, check=True)
        assert "error" not in json.loads(done.stdout), line


@pytest.mark.parametrize(
    "name", ["openai", pytest.param("tritonclient.http", marks=pytest.mark.clients)]
)
def test_python(running: Running, name: str) -> None:
    pytest.importorskip(name, exc_type=ImportError)
    (block,) = (each for each in blocks(PAGE) if name.partition(".")[0] in each.text)
    printed: list[Any] = []
    code = block.text.replace(ADDRESS, running.url.removeprefix("http://"))
    names: dict[str, Any] = {"print": printed.append}
    exec(compile(code, PAGE, "exec"), names)
    assert printed == [True] * block.text.count("# True")
    if "x" in names:
        assert names["x"].shape == (4, 3, 3)
    names["client"].close()


def test_every_option_is_on_the_page() -> None:
    (command,) = (
        each
        for name, each in vars(typer.main.get_command(application()))["commands"].items()
        if name == "serve"
    )
    options = {max(each.opts, key=len) for each in command.params if each.opts[0].startswith("-")}
    assert [option for option in sorted(options - {"--help"}) if f"`{option}`" not in TEXT] == []


def test_every_metric_is_on_the_page(running: Running) -> None:
    text = running.http.get("/metrics").text
    names = re.findall(r"^# TYPE (ancestral_\w+) ", text, flags=re.MULTILINE)
    assert len(names) > 10
    missing = [name for name in names if name not in TEXT and not name.endswith("_created")]
    assert missing == []


def test_every_code_is_on_the_page() -> None:
    for code in ("engine_opening", "engine_failed", "stopping", "not_a_distribution"):
        assert f"`{code}`" in TEXT


def test_the_unit() -> None:
    """It is a file of systemd whose command line parses."""
    unit = ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(ROOT / "docs/serving/ancestral.service")
    service = unit["Service"]
    program, name, *arguments = shlex.split(service["ExecStart"])
    assert (Path(program).name, name) == ("ancestral", "serve")
    command = vars(typer.main.get_command(application()))["commands"]["serve"]
    with command.make_context("serve", arguments) as context:
        assert [path.name for path in context.params["bundles"]] == ["text", "digits"]
    assert float(service["TimeoutStopSec"]) > context.params["drain"] + 2
    assert service["RestartPreventExitStatus"] == "2"


def test_the_image() -> None:
    """It does not run as root, and it installs the extras that exist."""
    text = (ROOT / "docs/serving/Dockerfile").read_text()
    assert re.search(r"^USER [1-9]", text, flags=re.MULTILINE)
    (extras,) = re.findall(r"/source\[([\w,]+)\]", text)
    project = (ROOT / "pyproject.toml").read_text()
    assert all(
        re.search(rf"^{extra} = \[", project, flags=re.MULTILINE) for extra in extras.split(",")
    )
