"""`ancestral compile` and `ancestral plans`: a plan is built once, listed, checked and removed."""

import importlib.util
import json
from pathlib import Path

import pytest

from .conftest import Cli, refused

pytestmark = [
    pytest.mark.tensorrt,
    pytest.mark.skipif(
        importlib.util.find_spec("tensorrt_rtx") is None, reason="tensorrt_rtx is not installed"
    ),
]


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give each test its own store of plans."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ancestral" / "plans"


def test_compiled_once(cli: Cli, tiny_bundle: Path, own_store: Path) -> None:
    line = ["compile", tiny_bundle, "--graph", "log_prob", "--target", "sm_80", "--batch", "1,2,4"]
    first = cli(*line)
    assert first.code == 0
    assert "log_prob: compiled in" in first.err
    assert "b=1:2:4 t=1:9:9" in first.out
    second = cli(*line, "--json")
    assert "log_prob: already compiled" in second.err
    (plan,) = json.loads(second.out)["plans"]
    assert (plan["key"]["graph"], plan["new"], plan["key"]["targets"]) == (
        "log_prob",
        False,
        ["sm_80"],
    )

    other = cli(*line[:-1], "1,2,8")
    assert "b=1:2:8 t=1:9:9 requested, the plan has b=1:2:4 t=1:9:9" in other.err
    listed = json.loads(cli("plans", "--json").out)
    assert [each["key"]["graph"] for each in listed["plans"]] == ["log_prob"] * 2
    assert listed["problems"] == []

    digest = listed["plans"][-1]["plan"]
    (own_store / digest / "plan").write_bytes(b"vtrt")
    damaged = cli("plans")
    assert damaged.code == 1
    assert f"truncated (expected {listed['plans'][-1]['size']} bytes, got 4)" in damaged.err
    assert cli("plans", "--remove", digest[:12]).err.startswith("removed 1 plans")
    assert cli("plans").code == 0
    assert cli("plans", "--remove", "all").err.startswith("removed 1 plans")
    assert json.loads(cli("plans", "--json").out)["plans"] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--graph", "stp"], ["--graph: expected one of", "stp"]),
        (["--batch", "4,2,8"], ["--batch", "not decreasing"]),
        (["--batch", "1,2"], ["--batch: expected MIN,OPT,MAX"]),
        (["--batch", "0,2,8"], ["--batch"]),
        (["--latents", "many"], ["--latents: expected MIN,OPT,MAX"]),
        (["--prefix", "1-5"], ["--prefix: expected MIN..MAX"]),
        (["--prefix", "3..99"], ["--prefix: expected MIN..MAX with 1 <= MIN <= MAX <= 9"]),
        (["--target", "sm_90"], ["--target: ", "got sm_90", "pip install 'ancestral[tensorrt]'"]),
        (["--target", "hopper"], ["--target: expected a compute capability"]),
        (["--module", "tensorflow"], ["--module: expected one of"]),
        (["--plugin"], ["--plugin: tensorrt_rtx does not support plugins"]),
        (["--memory", "-1"], ["--memory"]),
        (["--timeout", "0"], ["--timeout"]),
    ],
)
def test_bad_input(cli: Cli, tiny_bundle: Path, arguments: list[str], words: list[str]) -> None:
    refused(cli("compile", tiny_bundle, "--module", "tensorrt_rtx", *arguments), *words)


def test_no_bundle(cli: Cli, tmp_path: Path) -> None:
    refused(cli("compile", tmp_path / "nothing"), "no such directory")


@pytest.mark.parametrize("name", ["abc", "step", "0123456789ab"])
def test_no_such_plan(cli: Cli, name: str) -> None:
    refused(cli("plans", "--remove", name), "--remove: expected", name)


def test_store_that_others_may_read(cli: Cli, own_store: Path) -> None:
    own_store.mkdir(parents=True)
    own_store.chmod(0o755)
    refused(cli("plans"), "plans are executable", "chmod 700")
