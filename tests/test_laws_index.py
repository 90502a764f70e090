"""tests/laws/README.md names exactly the tests of the laws; few are not run interpreted."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from tests import conftest

LAWS = Path(__file__).parent / "laws"


def written() -> set[str]:
    """Return the tests in the page's tables, as "file: name"."""
    found: set[str] = set()
    for line in (LAWS / "README.md").read_text().splitlines():
        files = re.findall(r"\| (test_\w+\.py): ", line)
        if files:
            cells = line.split("|")[2:]
            # A path to another folder is a reference; a file's own name is not a test.
            words = re.sub(r"[\w/]+\.py", "", " ".join(cells))
            found |= {f"{files[0]}: {name}" for name in re.findall(r"\btest_\w+", words)}
    return found


def there() -> set[str]:
    """Return the tests in the folder's files, as "file: name"."""
    return {
        f"{file.name}: {node.name}"
        for file in LAWS.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_law_is_in_the_index() -> None:
    assert written() == there()


MANY = {
    "test_bound_on_own_samples", "test_bounds_and_naive_monte_carlo", "test_chi_square",
    "test_chi_square_of_pairs", "test_codes", "test_filtered", "test_follow_p", "test_normalised",
    "test_probabilities_sum_to_1",
}  # fmt: skip
"""The only laws that are not run if kernels are interpreted: they take thousands of events."""


def test_only_these_laws_are_not_interpreted() -> None:
    text = "".join(file.read_text() for file in LAWS.glob("test_*.py"))
    marked = re.findall(r"^@pytest\.mark\.many\n(?:[@ )].*\n)*def (\w+)", text, flags=re.MULTILINE)
    assert set(marked) == MANY
    assert text.count("mark.many") == len(marked)


@pytest.mark.parametrize("interpreted", [True, False])
def test_many_is_left_out(interpreted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """If kernels are interpreted, tests marked `many` are not run, and all others are."""
    monkeypatch.setattr(conftest, "INTERPRETED", interpreted)
    items = [
        SimpleNamespace(path=Path(__file__), get_closest_marker={name: True}.get)
        for name in ("many", "kernels", "many")
    ]
    kept: list[Any] = [*items]
    next(conftest.pytest_collection_modifyitems(Mock(), kept))
    assert kept == (items[1:2] if interpreted else items)
