"""The product's modules have no import cycles, even with imports in functions or for types."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest


def edges(*packages: str) -> dict[str, set[str]]:
    """Return each module's imports within some packages, wherever the statement is."""
    graph = grimp.build_graph(*packages, cache_dir=None)
    return {each: graph.find_modules_directly_imported_by(each) for each in graph.modules}


def cycle(imports: dict[str, set[str]]) -> list[str]:
    """Return a cycle of imports, with its first module again at the end, or an empty list."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_cycle() -> None:
    imports = edges("ancestral", "benchmarks")
    assert len(imports) > 300
    assert "ancestral.signature" in imports["ancestral.engine.session"], "links are not followed"
    assert cycle(imports) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import toy.b\n", "import toy.a"),
        ("from toy import b\n", "def late():\n    from toy.a import name\n"),
        ("from . import b\n", "from .a import name\n"),
    ],
    ids=["for the type checker", "in a function", "relative"],
)
def test_planted_cycle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one: str, other: str
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "toy").mkdir()
    for name, text in {"__init__": "", "a": one, "b": other, "c": "import toy.a\n"}.items():
        (tmp_path / "toy" / f"{name}.py").write_text(text)
    assert set(cycle(edges("toy"))) == {"toy.a", "toy.b"}
    (tmp_path / "toy" / "b.py").write_text("import json\n")
    assert cycle(edges("toy")) == []
