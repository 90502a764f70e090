"""The command line of `ancestral serve`: each bad value gets one sentence and exit code 2."""

import shutil
import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ancestral.cli import installed
from ancestral.cli.main import run


@pytest.fixture(scope="module")
def bundle(bundles: Callable[[str], Path]) -> Path:
    return bundles("tiny")


def refused(capfd: pytest.CaptureFixture[str], arguments: Sequence[str]) -> str:
    """Run a command line that is refused, and return what it says."""
    assert run(["serve", *arguments]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--port 70000", "--port"),
        ("--port x", "--port"),
        ("--host nowhere.invalid --port 0", "--host, --port: cannot listen on nowhere.invalid"),
        ("--host a..b --port 0", "cannot listen on a..b:0"),
        ("--host 192.0.2.1 --port 0", "cannot listen on 192.0.2.1:0"),
        ("--api-key-file missing.txt", "missing.txt: no such file"),
        ("--origin example.org", "--origin: expected a scheme and a host"),
        ("--origin https://example.org/page", "--origin: expected a scheme and a host"),
        ("--slots 0", "--slots"),
        ("--queue 0", "--queue"),
        ("--max-rows 0", "--max-rows"),
        ("--max-n 0", "--max-n"),
        ("--max-prompt 0", "--max-prompt"),
        ("--max-body 0", "--max-body"),
        ("--max-bodies 0", "--max-bodies"),
        ("--prefix-memory -1", "--prefix-memory"),
        ("--timeout 0", "--timeout"),
        ("--timeout nan", "--timeout"),
        ("--timeout inf", "--timeout"),
        ("--body-timeout -1", "--body-timeout"),
        ("--body-timeout nan", "--body-timeout"),
        ("--drain -1", "--drain"),
        ("--drain nan", "--drain"),
        ("--drain 1e300", "--drain"),
        ("--max-connections 0", "--max-connections"),
        ("--threads some", "--threads"),
        ("--device cuda --threads 1", "--threads: only used on a CPU"),
    ],
)
def test_bad_values(
    bundle: Path, options: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert words in refused(capfd, [str(bundle), *options.split()])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--backend nope", "--backend: expected one of"),
        ("--device gpu", "--device: expected cpu, cuda or cuda:N"),
        ("--threads 100000", "--threads: expected"),
        ("--slots 1000000000000", "--slots"),
    ],
)
def test_values_that_the_engine_refuses(
    bundle: Path, options: str, words: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The server begins to listen, cannot open the bundle, and ends with the reason."""
    said = refused(capfd, [str(bundle), "--port", "0", *options.split()])
    assert said.startswith("serving tiny on http://127.0.0.1:")
    assert words in said.splitlines()[-1]


def test_bundles(bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert "BUNDLE" in refused(capfd, [])
    assert "nowhere" in refused(capfd, [str(tmp_path / "nowhere")])
    (tmp_path / "empty").mkdir()
    assert "manifest.json" in refused(capfd, [str(tmp_path / "empty")])
    twice = refused(capfd, [str(bundle), str(bundle)])
    assert "BUNDLE: two folders are named 'tiny'" in twice
    odd = Path(shutil.copytree(bundle, tmp_path / "a\nb"))
    assert "expected a folder whose name clients can write" in refused(capfd, [str(odd)])


def test_a_port_that_is_taken(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        number = taken.getsockname()[1]
        said = refused(capfd, [str(bundle), "--port", str(number)])
    assert f"--host, --port: cannot listen on 127.0.0.1:{number}" in said


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        ({"uvicorn"}, "needs the uvicorn package: pip install 'ancestral[serve]'"),
        ({"fastapi", "uvicorn"}, "needs the fastapi and uvicorn packages"),
    ],
)
def test_packages_that_are_missing(
    bundle: Path,
    missing: set[str],
    words: str,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installed, "is_there", lambda name: name not in missing)
    assert words in refused(capfd, [str(bundle)])
