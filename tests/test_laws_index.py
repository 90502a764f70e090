"""tests/laws/README.md names every test of the laws, and no other."""

import ast
import re
from pathlib import Path

LAWS = Path(__file__).parent / "laws"


def written() -> set[str]:
    """Tests as file: name, from the tables of the page."""
    found: set[str] = set()
    for line in (LAWS / "README.md").read_text().splitlines():
        files = re.findall(r"\| (test_\w+\.py): ", line)
        if files:
            cells = line.split("|")[2:]
            # A path to another folder is a reference; a file's own name is no test.
            words = re.sub(r"[\w/]+\.py", "", " ".join(cells))
            found |= {f"{files[0]}: {name}" for name in re.findall(r"\btest_\w+", words)}
    return found


def there() -> set[str]:
    """Tests as file: name, from the files of the folder."""
    return {
        f"{file.name}: {node.name}"
        for file in LAWS.glob("test_*.py")
        for node in ast.parse(file.read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def test_every_law_is_in_the_index() -> None:
    assert written() == there()
