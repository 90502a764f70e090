"""Work in an untrusted folder: its modules are not imported, its escapes are not printed."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from ancestral.cli.doctor import _probe
from ancestral.cli.output import visible
from tests.tamper import change_manifest, copied

from .conftest import Bundles, Cli

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = ("src/ancestral", "engine", "export", "train", "triton_kernels")
RUN = "import sys; from ancestral.cli.main import run; sys.exit(run(sys.argv[1:]))"


def run(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a command line in a working folder, which is not on `sys.path` at the start."""
    command = [sys.executable, "-P", "-c", RUN, *map(str, words)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def plant(folder: Path) -> Path:
    """Plant modules that create a file when they are imported; return the path of that file."""
    marker = folder / "ran"
    for name in ("numpy", "json", "torch", "onnxruntime", "ancestral", "sitecustomize"):
        (folder / f"{name}.py").write_text(f"open({str(marker)!r}, 'w')")
    return marker


def test_bench_in_a_working_folder(tiny_bundle: Path, tmp_path: Path) -> None:
    """The measuring process imports no module of the working folder, which may be downloaded."""
    marker = plant(tmp_path)
    words = ("--batch", "1", "--backend", "onnxruntime", "--threads", "1", "--json")
    done = run(tmp_path, "bench", tiny_bundle, *words)
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
    assert json.loads(done.stdout)["rows"]


def test_probes_in_a_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process in which `doctor` loads a runtime imports no module of the working folder."""
    marker = plant(tmp_path)
    monkeypatch.chdir(tmp_path)
    code, printed = _probe("import json, numpy; print(json.dumps(numpy.__version__))")
    assert (code, printed[:1]) == (0, '"')
    assert not marker.exists()


@pytest.mark.slow
def test_doctor_in_a_working_folder(tmp_path: Path) -> None:
    marker = plant(tmp_path)
    done = run(tmp_path, "doctor", "--json")
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
    backends = {each["name"]: each["runs"] for each in json.loads(done.stdout)["backends"]}
    assert backends["torch"]
    assert backends["onnxruntime"]


def test_every_python_is_started_without_the_working_folder() -> None:
    """Each start of sys.executable in the product has -P; -I would drop PYTHONPATH too."""
    starts = [
        (file.relative_to(ROOT), found[0])
        for folder in PRODUCT
        for file in sorted((ROOT / folder).rglob("*.py"))
        for found in re.finditer(r"\[\s*sys\.executable[^\]]*\]", file.read_text())
    ]
    assert len(starts) >= 4, starts
    assert [start for start in starts if '"-P"' not in start[1]] == []
    named = sum(
        file.read_text().count("sys.executable")
        for folder in PRODUCT
        for file in (ROOT / folder).rglob("*.py")
    )
    # One more: os.execv takes the program as well as its arguments.
    assert named == len(starts) + 1, "sys.executable in a form that this test does not read"


def test_only_one_module_prints() -> None:
    """Commands print with ancestral.cli.output, which shows control characters as codes."""
    files = sorted((ROOT / "src/ancestral/cli").glob("*.py"))
    prints = re.compile(r"typer\.echo|sys\.std(out|err)\.(write|buffer)|click\.echo|[^_.]print\(")
    code = [f for f in files if f.name not in {"output.py", "doctor.py"}]
    assert [f.name for f in code if prints.search(f.read_text())] == []


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb\x07", r"a\x1b[31mb\x07"),
        ("\x9b31m\x7f\x00\r", r"\x9b31m\x7f\x00\x0d"),
        ("\u202eabc\u2066\u200f", r"\u202eabc\u2066\u200f"),
        ("half \ud800", r"half \ud800"),
        ("tab\tline\nplain \u00e9 \U0001f600", "tab\tline\nplain \u00e9 \U0001f600"),
    ],
)
def test_visible(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert visible(text).encode()


def test_escapes_in_a_manifest(cli: Cli, tiny_bundle: Path, tmp_path: Path) -> None:
    """Escapes in a manifest's free text are printed as codes, by `info` and in refusals."""
    copy = copied(tiny_bundle, tmp_path)
    change_manifest(
        copy,
        lambda m: (
            m["data"].update(name="data\x1b[2J"),
            m["written_by"].update({"\x1b]0;torch": "1\x9b0"}),
            m["components"]["model"].update(family="\x1b[8mfamily"),
            m["components"]["model"]["config"].update(x="\u202e"),
        ),
    )
    (copy / "graphs" / "a\x1b[1mb").touch()
    (copy / os.fsdecode(b"not utf-8 \xff")).touch()
    result = cli("info", copy)
    assert result.code == 0, result.err
    assert r"data\x1b[2J" in result.out
    assert r"a\x1b[1mb" in result.out
    assert r"not utf-8 \udcff" in result.out
    assert visible(result.out) == result.out
    assert json.loads(cli("info", copy, "--json").out)["unlisted"][0] == "graphs/a\x1b[1mb"
    refused = cli("sample", copy, "--backend", "torch", "-n", 1, "-o", tmp_path / "x.npz")
    assert refused.code == 2
    assert r"\x1b[8mfamily" in refused.err
    assert visible(refused.err) == refused.err


def on_a_terminal(*words: str | Path) -> bytes:
    """Return what a command prints if its standard output is a terminal."""
    mine, its = pty.openpty()
    command = [sys.executable, "-P", "-c", RUN, *map(str, words)]
    with subprocess.Popen(command, stdout=its, stderr=subprocess.DEVNULL) as process:
        os.close(its)
        found = b""
        # The end of a terminal is an error on Linux, an empty read on other systems.
        try:
            while part := os.read(mine, 4096):
                found += part
        except OSError:
            pass
        assert process.wait() == 0
    os.close(mine)
    return found


def test_generated_text(bundles: Bundles, tmp_path: Path) -> None:
    """Control characters are shown as codes on a terminal, and written as drawn to a pipe."""
    copy = copied(bundles("tiny"), tmp_path)
    change_manifest(copy, lambda m: m["data"].update(tokenizer="bytes"))
    words = ("sample", copy, "-n", "1", "--label", "0", "-o", "-", "--threads", "1")
    piped = run(tmp_path, *words)
    assert piped.returncode == 0, piped.stderr
    assert set(piped.stdout) <= {"\x00", "\x01", "\x02"}
    assert len(piped.stdout) == 9
    terminal = on_a_terminal(*words).decode()
    assert visible(piped.stdout) == terminal.replace("\r\n", "\n")
