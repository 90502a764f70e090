"""The site builds without a warning, and its reference has every name that other pages use."""

import ast
import re
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest

import ancestral
from ancestral import engine
from tests.doc_commands import ROOT, blocks, pages

REFERENCE = ROOT / "docs" / "reference" / "python"
DIRECTIVE = re.compile(r"^\.\. auto(?:class|exception|function):: ([\w.]+)", flags=re.MULTILINE)

ON_RAY = "ancestral.bulk.ray."


def documented() -> list[str]:
    """Return the full names that the Python reference documents."""
    pages = sorted(REFERENCE.glob("*.md"))
    return [name for page in pages for name in DIRECTIVE.findall(page.read_text())]


def used() -> set[str]:
    """Return the full names that Python blocks import from ancestral, and its attributes."""
    found = set()
    for page in pages():
        for block in blocks(page):
            if block.language == "python":
                found |= set(imported(block.text))
    return found


def imported(text: str) -> list[str]:
    """Return the names that Python code takes from ancestral."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ancestral"):
            found += [f"{node.module}.{each.name}" for each in node.names]
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            found += [f"ancestral.{node.attr}"] * (node.value.id == "ancestral")
    return found


def test_reference_has_public_and_used_names() -> None:
    public = {f"ancestral.{name}" for name in ancestral._PLACES}
    public |= {f"ancestral.engine.{name}" for name in engine.__all__}
    names = public | used()
    assert len(names) > 40
    # An operator is documented by its reference implementation in PyTorch.
    there = documented()
    # Ray is not installed here: these are compared by name.
    on_ray = {name for name in names if name.startswith(ON_RAY)}
    assert on_ray <= set(there)
    names -= on_ray
    objects = [resolve_name(name) for name in there if not name.startswith(ON_RAY)]
    missing = [
        name
        for name in sorted(names)
        if f"{name}_reference" not in there
        and not any(each == resolve_name(name) for each in objects)
    ]
    assert missing == []


def test_reference_documents_nothing_twice() -> None:
    names = documented()
    assert len(names) == len(set(names))


def test_uses_are_found() -> None:
    text = (
        "from ancestral.engine import Engine, Nothing\nimport ancestral\nancestral.load('bundle')\n"
    )
    assert imported(text) == [
        "ancestral.engine.Engine",
        "ancestral.engine.Nothing",
        "ancestral.load",
    ]


def extension(name: str) -> ModuleType:
    """Import a module of docs/_extensions."""
    spec = spec_from_file_location(name, ROOT / "docs" / "_extensions" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_docstrings_are_plain_text() -> None:
    """Sphinx's markup is escaped in text, and kept in code, formulas and doctests."""
    kept = ["", "    y = a * b", "", ">>> 2 * 3", "6", "", "Args:"]
    lines = ["The b*c of |x| and name_, `*args`.", *kept, "    x: of *shape."]
    escaped = [r"The b\*c of \|x\| and name\_, `*args`.", "", "::", *kept, r"    x: of \*shape."]
    assert list(extension("plain_docstrings").plain(lines)) == escaped


def test_every_command_is_in_the_reference() -> None:
    sections = list(extension("command_help").markdown())
    names = [re.match(r"## `ancestral ([a-z -]+)`\n", section) for section in sections]
    assert all(names)
    assert len(sections) >= 26
    assert all("**Examples**:\n\n```console\n$ ancestral " in section for section in sections)


def build(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", *options]
    return subprocess.run(
        [*command, "-d", str(folder / "doctrees"), "docs", str(folder / "site")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_builds_without_warnings(tmp_path: Path) -> None:
    result = build(tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    site = tmp_path / "site"
    commands = (site / "reference" / "cli.html").read_text()
    assert 'id="ancestral-sample"' in commands
    assert "--particles" in commands
    assert (
        'id="ancestral.engine.AutoregressiveEngine.sample"'
        in (site / "reference" / "python" / "engine.html").read_text()
    )


@pytest.mark.slow
def test_warning_fails_the_build(tmp_path: Path) -> None:
    """The planted fault: a page in the table of contents is missing."""
    result = build(tmp_path, "-D", "exclude_patterns=_extensions,gallery.md")
    assert result.returncode != 0
    assert "gallery" in result.stderr
