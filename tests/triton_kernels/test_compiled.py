"""Kernels compiled ahead of time: nothing spills, and the committed table is what comes out.

Triton decides when a kernel is defined whether it interprets, so each compile has its own process.
"""

import ast
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ancestral.triton_kernels.tools.compile import TARGETS, main

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "kernels-compiled.md"
REMAKE = "make kernels-table"
COMPILE = "ancestral.triton_kernels.tools.compile"

needs_triton = pytest.mark.skipif(
    find_spec("triton") is None, reason="Triton is for Linux: kernels are compiled there"
)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Python in a process whose environment says nothing to Triton but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRITON")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """The variants, how launches would compile them, and the first of each operator compiled."""
    done = run("-m", "tests.triton_kernels.ahead_of_time")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def version_of_table() -> str:
    found = re.search(r"with Triton (\S+)\. ", TABLE.read_text())
    assert found, f"{TABLE.name} does not say by which Triton it was made: {REMAKE}"
    return found[1]


def rows_of_table() -> dict[str, dict[str, str]]:
    """The cells of each variant by the head of their column."""
    rows, heads = {}, []
    for line in TABLE.read_text().splitlines():
        cells = [each.strip() for each in line.strip("|").split("|")] if line[:1] == "|" else []
        if cells[:1] == ["variant"]:
            heads = cells
        elif cells and cells[0] != "---":
            assert cells[0] not in rows, f"two rows of {cells[0]}"
            rows[cells[0]] = dict(zip(heads, cells, strict=True))
    return rows


def skip_another_triton(version: str) -> None:
    if version != version_of_table():
        pytest.skip(f"the table was made with Triton {version_of_table()}, here is {version}")


@needs_triton
def test_every_launched_kernel_is_compiled(answer: dict[str, Any]) -> None:
    """Each `name[grid](...)` has a variant with a function of that name, in its operator."""
    compiled = {(module.split(".")[-2], name) for module, name in answer["functions"]}
    launched = set()
    for path in ROOT.glob("triton_kernels/**/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
                launched.add((path.parent.name, ast.unparse(node.func.value).split(".")[-1]))
    assert launched
    assert launched <= compiled


@needs_triton
def test_variants_are_what_a_launch_compiles(answer: dict[str, Any]) -> None:
    assert answer["faults"] == []
    for name, faults in answer["misnamed"].items():
        assert faults, f"the planted fault {name!r} was not seen"


@needs_triton
def test_code_does_not_depend_on_rows(answer: dict[str, Any]) -> None:
    """Of 1, 3 and 16 rows: Triton makes other code of an argument that is 1 or a multiple of 16."""
    assert answer["row dependent"] == {}, (
        "an argument made of the number of rows: do_not_specialize"
    )
    assert answer["planted"][0], "the planted fault was not seen"


@needs_triton
def test_launches_have_variants(answer: dict[str, Any]) -> None:
    """At its sizes a launch compiles one of them: the table is of what runs."""
    assert answer["unknown"] == {}, "at the launch, and in the variant that is most like it"
    assert answer["planted"][1], "the planted fault was not seen"


@needs_triton
def test_first_variants(answer: dict[str, Any]) -> None:
    """On sm_90 and one other: no spills, the instructions that are wanted, the table's numbers."""
    assert answer["problems"] == []
    assert len({each["target"] for each in answer["compiled"]}) == 2
    skip_another_triton(answer["triton"])
    rows = rows_of_table()
    for each in answer["compiled"]:
        numbers = f"{each['registers']} / {each['spilled']} / {each['shared']}"
        where = f"sm_{each['target']}"
        got = rows.get(each["name"], {}).get(where, "no row").split(" (")[0]
        assert got == numbers, f"{each['name']}, {where}: {got} in {TABLE.name}: {REMAKE}"


@needs_triton
def test_a_row_each_variant(answer: dict[str, Any]) -> None:
    assert len(set(answer["names"])) == len(answer["names"])
    rows = rows_of_table()
    assert list(rows) == answer["names"], REMAKE
    numbers = re.compile(r"[1-9]\d* / \d+ / \d+( \(\d+\))?")
    for name, row in rows.items():
        assert [each for each in row if each.startswith("sm_")] == [
            f"sm_{each}" for each in TARGETS
        ]
        for target in TARGETS:
            assert numbers.fullmatch(row[f"sm_{target}"]), (name, target)
        assert row["sm_90"].split(" / ")[1] == "0", f"{name} spills"


@needs_triton
@pytest.mark.slow
def test_whole_table(tmp_path: Path) -> None:
    import triton

    skip_another_triton(triton.__version__)
    done = run("-m", COMPILE, "--table", str(tmp_path / "table.md"))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "table.md").read_bytes() == TABLE.read_bytes(), REMAKE


@needs_triton
def test_planted_faults(tmp_path: Path) -> None:
    """Each is reported with its name, the sound one is not; the user's cache is left alone."""
    code = f"""
import sys
from {COMPILE} import main
arguments = ["--target", "90", "--json", {str(tmp_path / "found.json")!r}]
sys.exit(main(arguments, {{"planted": "tests.triton_kernels.planted"}}))
"""
    done = run("-c", code, HOME=str(tmp_path))
    assert done.returncode == 1, done.stderr
    said = [line for line in done.stderr.splitlines() if "expected" in line]
    assert len(said) == 2, said
    assert re.fullmatch(r"planted spilling, sm_90: expected no spills, got \d+ bytes .*", said[0])
    assert said[1].startswith("planted lacking, sm_90: expected HMMA or HGMMA in the machine code")
    found = {
        each["name"]: each for each in json.loads((tmp_path / "found.json").read_text())["compiled"]
    }
    assert found["planted spilling"]["spilled"] > 0
    assert found["planted sound"]["spilled"] == 0
    assert found["planted sound"]["instructions"]["LDG.E.128"] > 0
    assert [each.name for each in tmp_path.iterdir()] == ["found.json"]


@needs_triton
def test_refused_where_triton_interprets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(r"TRITON_INTERPRET is set, .*: unset TRITON_INTERPRET\n", said.err)


def test_refused_without_triton(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert main([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.endswith("pip install 'ancestral[gpu]'\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "70"], "invalid choice: 70"),
        (["--target", "ninety"], "invalid int value: 'ninety'"),
        (["--operator", "transpose"], "invalid choice: 'transpose'"),
        (["--target", "90", "--table", "table.md"], "expected every operator and target"),
        (["--table"], "expected one argument"),
        (["--fast"], "unrecognized arguments: --fast"),
    ],
    ids=lambda given: " ".join(given) if isinstance(given, list) else "",
)
def test_bad_options(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err
