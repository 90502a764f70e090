"""Kernels compiled ahead of time do not spill, and match the committed table.

Triton chooses at a kernel's definition whether to interpret it, so each compile has a process.
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
    find_spec("triton") is None, reason="Triton is only for Linux; kernels are compiled there"
)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process without variables for Triton, except those that are passed."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRITON")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=kept | environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def answer() -> dict[str, Any]:
    """Return the variants, what launches would compile, and compilations of first variants."""
    done = run("-m", "tests.triton_kernels.ahead_of_time")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def version_of_table() -> str:
    found = re.search(r"with Triton (\S+)\. ", TABLE.read_text())
    assert found, f"{TABLE.name}: no version of Triton: {REMAKE}"
    return found[1]


def rows_of_table() -> dict[str, dict[str, str]]:
    """Return the cells of each variant by the heads of their columns."""
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
        pytest.skip(f"the table was made with Triton {version_of_table()}, not {version}")


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
        assert faults, f"the planted fault {name!r} was not found"


@needs_triton
def test_code_does_not_depend_on_rows(answer: dict[str, Any]) -> None:
    """Launches of 1, 3 and 16 rows compile the same code: Triton may specialise on 1 and 16."""
    assert answer["row dependent"] == {}, (
        "an argument depends on the number of rows; use do_not_specialize"
    )
    assert answer["planted"][0], "the planted fault was not found"


@needs_triton
def test_launches_have_variants(answer: dict[str, Any]) -> None:
    """A launch compiles one of the variants, so the table describes what runs."""
    assert answer["unknown"] == {}, "values at the launch, and in the most similar variant"
    assert answer["planted"][1], "the planted fault was not found"


@needs_triton
def test_first_variants(answer: dict[str, Any]) -> None:
    """On two targets, variants do not spill, have their instructions, and match the table."""
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
def test_a_row_for_each_variant(answer: dict[str, Any]) -> None:
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
    """Each fault is reported by name, and only faults; the user's cache is not touched."""
    code = f"""
import sys
from {COMPILE} import main
arguments = ["--target", "90", "--json", {str(tmp_path / "found.json")!r}]
sys.exit(main(arguments, {{"planted": "tests.triton_kernels.planted"}}))
"""
    done = run("-c", code, HOME=str(tmp_path))
    assert done.returncode == 1, done.stderr
    lines = [line for line in done.stderr.splitlines() if "expected" in line]
    assert len(lines) == 2, lines
    assert re.fullmatch(r"planted spilling, sm_90: expected no spills, got \d+ bytes .*", lines[0])
    assert lines[1].startswith("planted lacking, sm_90: expected HMMA or HGMMA in the machine code")
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
    output = capsys.readouterr()
    assert output.out == ""
    assert re.fullmatch(r"TRITON_INTERPRET is set, .*; unset TRITON_INTERPRET\n", output.err)


def test_refused_without_triton(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "triton", None)
    assert main([]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.endswith("pip install 'ancestral[gpu]'\n")


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
